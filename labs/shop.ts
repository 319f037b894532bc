import { randomUUID } from 'node:crypto'
import { setTimeout as wait } from 'node:timers/promises'
import { type Client, type ClientAnswer, createClient, expectStatus } from '@escala/testing/client'
import type { Cluster } from '@escala/testing/cluster'
import { Redis } from 'ioredis'

/** What the labs that buy tickets have in common. */
export interface Order {
  id: string
  number: number
  status: string
}

/** A show with plenty of tickets, and its path. */
export async function createShow(cluster: Pick<Cluster, 'url'>, capacity = 100_000): Promise<string> {
  const organiser = await createOrganiser(cluster)
  const show = await addShow(organiser, capacity)
  organiser.close()
  return show
}

/**
 * For many shows: logging in has a limit of 5 a minute. Each request has a connection of its own: a reload of NGINX closes idle
 * ones, and a change of a show, which must not be sent twice, could meet that moment.
 */
export async function createOrganiser(cluster: Pick<Cluster, 'url'>): Promise<Client> {
  const organiser = createClient(cluster.url, { keepAlive: false })
  await organiser.logInAsOrganiser()
  return organiser
}

/** Its path. */
export async function addShow(organiser: Client, capacity: number): Promise<string> {
  const startsAt = new Date(Date.now() + 30 * 24 * 3_600_000).toISOString()
  const show = { name: 'Lab Night', startsAt, priceCents: 1000, currency: 'EUR', capacity }
  return `/v1/shows/${expectStatus(await organiser.post('/v1/shows', show), 201).body.id}`
}

/** Runs `work` while no process may subscribe to the cache Redis: every message is lost. */
export async function withoutBroadcast<T>({ cacheRedisUrl }: Pick<Cluster, 'cacheRedisUrl'>, work: () => Promise<T>) {
  const redis = new Redis(cacheRedisUrl)
  try {
    await redis.call('ACL', 'SETUSER', 'default', '-subscribe')
    await redis.call('CLIENT', 'KILL', 'TYPE', 'pubsub')
    return await work()
  } finally {
    await redis.call('ACL', 'SETUSER', 'default', '+subscribe')
    redis.disconnect()
  }
}

/** A logged-in client. Orders carry keys, so what went down with a kept connection is sent again, as an app would. */
export async function createBuyer(cluster: Pick<Cluster, 'url'>): Promise<Client> {
  const buyer = createClient(cluster.url, { resendWrites: true })
  const { email, password } = await buyer.signUp()
  await buyer.logIn(email, password)
  return buyer
}

/** The same user at another address. */
export function elsewhere(client: Client, url: string): Client {
  const other = createClient(url)
  for (const [name, value] of client.cookies) other.cookies.set(name, value)
  return other
}

/** Orders a ticket; the same `key` is the same order. */
export function order(client: Client, show: string, key: string = randomUUID(), quantity = 1): Promise<ClientAnswer> {
  return client.post(`${show}/orders`, { quantity }, { 'Idempotency-Key': key })
}

/** All orders of the client. */
export async function listOrders(client: Client): Promise<Order[]> {
  const orders: Order[] = []
  let cursor = ''
  while (true) {
    const { body } = expectStatus(await client.get(`/v1/orders?limit=100${cursor}`), 200)
    orders.push(...body.items)
    if (!body.nextCursor) return orders
    cursor = `&cursor=${encodeURIComponent(body.nextCursor)}`
  }
}

export interface QuietOptions {
  cluster: Pick<Cluster, 'payments' | 'mail'>
  buyer: Client
  orders: number
  /** Longer than a job stays with a dead worker. */
  quietMs?: number
  progress(done: number, total: number): void
}

/** Until all orders are confirmed, or nothing has happened for so long; then what the provider and the mail server saw. */
export async function untilQuiet({ cluster, buyer, orders, quietMs = 3000, progress }: QuietOptions) {
  let confirmed = -1
  for (let since = Date.now(); confirmed < orders && Date.now() - since < quietMs; await wait(100)) {
    const now = (await listOrders(buyer)).filter(({ status }) => status === 'confirmed').length
    if (now !== confirmed) since = Date.now()
    confirmed = now
    progress(confirmed, orders)
  }
  const { charges } = await cluster.payments.seen()
  const mails = await cluster.mail.mails()
  return {
    confirmed,
    charges: charges.length,
    repeatedCharges: charges.reduce((sum, { attempts }) => sum + attempts - 1, 0),
    mails: mails.length,
    repeatedMails: mails.reduce((sum, { count }) => sum + count - 1, 0),
  }
}
