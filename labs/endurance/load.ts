import { randomUUID } from 'node:crypto'
import { setTimeout as wait } from 'node:timers/promises'
import { type Client, type ClientAnswer, createClient, expectStatus } from '@escala/testing/client'
import type { Cluster } from '@escala/testing/cluster'
import { startTraffic } from '@escala/testing/traffic'
import { createOrganiser } from '../shop.ts'
import { type CartLedger, count, isOpen, type Ledger, type MeantOrder, note } from './ledger.ts'
import type { Random } from './random.ts'

type Method = 'get' | 'post' | 'put' | 'patch' | 'delete'

export interface Buyer {
  id: string
  email: string
  password: string
  client: Client
  orders: MeantOrder[]
  carts: Map<string, CartLedger>
  /** Writes of one item come one after the other: otherwise it would be unknown which was the last. */
  fillingCart: boolean
  loggingIn?: Promise<void>
}

export interface LoadOptions {
  perSecond: number
  random: Random
  ledger: Ledger
  /** Whether sessions may be lost: only when Redis is. */
  mayLogOut(): boolean
}

export interface Load {
  buyers: Buyer[]
  /** The state Redis has lost what it had: sessions, and carts with them. */
  redisLost(): void
  /** No new work; resolves when the work under way is done or given up. */
  stop(): Promise<void>
}

const timeoutMs = 15_000
const firstBuyers = 10
const maxBuyers = 200

/** What people do in a shop, `perSecond` times a second whatever becomes of what they did before. */
export async function startLoad(cluster: Cluster, options: LoadOptions): Promise<Load> {
  const { perSecond, random, ledger } = options
  const organiser = await createOrganiser(cluster)
  const shows = await addShows(organiser, ledger)
  const buyers: Buyer[] = []
  const patching = new Set<string>()

  const send = async (what: string, client: Client, method: Method, ...request: Parameters<Client['get']>) => {
    const answer = await client[method](...request)
    note(ledger, what, answer)
    return answer
  }

  const tries = new Map<string, number[]>()
  const logIn = async (client: Client, { email, password }: Pick<Buyer, 'email' | 'password'>) => {
    const now = performance.now()
    const recent = [...(tries.get(email) ?? []), now].filter((at) => at > now - 60_000)
    tries.set(email, recent)
    const answer = await client.post('/v1/session', { email, password })
    // An account has five tries a minute, and what an outage left without an outcome may have been counted.
    if (answer.status !== 429 || recent.length <= 5) note(ledger, 'log in', answer)
    return answer
  }

  /** Repeats until there is a response, or the client's patience ends. */
  const insist = async (tries: number, attempt: () => Promise<ClientAnswer>): Promise<ClientAnswer> => {
    for (let n = 1; ; n++) {
      const answer = await attempt()
      if (!isOpen(answer) || n === tries) return answer
      await wait(200 * 2 ** Math.min(n, 5) * (0.5 + random.next() / 2))
    }
  }

  const asBuyer = async (what: string, buyer: Buyer, method: Method, ...request: Parameters<Client['get']>) => {
    const answer = await send(what, buyer.client, method, ...request)
    if (answer.status !== 401) return answer
    if (!options.mayLogOut()) count(ledger.wrongs, `${what}: logged out`)
    buyer.loggingIn ??= insist(8, () => logIn(buyer.client, buyer)).then(() => {
      buyer.loggingIn = undefined
      // The cart was kept beside the session that is gone, or filled since as a visitor's, which the log-in takes over.
      for (const { unanswered } of buyer.carts.values()) unanswered.add(0)
    })
    await buyer.loggingIn
    return { ...answer, status: 0 } // the same again
  }

  // Each person has an address of their own, as in reality: what one address may do has limits.
  let people = 0
  const newClient = () => {
    const number = people++
    return createClient(cluster.url, {
      timeoutMs,
      localAddress: `127.1.${Math.floor(number / 250) % 250}.${1 + (number % 250)}`,
    })
  }

  const signUp = async () => {
    const client = newClient()
    const email = `${randomUUID()}@example.com`
    const password = 'a password of a run'
    const signedUp = await insist(8, () =>
      send('sign up', client, 'post', '/v1/users', { email, password, name: 'Ann' }),
    )
    // Taken: by an attempt of ours that was not answered.
    if (signedUp.status !== 201 && signedUp.status !== 409) return signedUp
    ledger.emails.push(email)
    const loggedIn = await insist(8, () => logIn(client, { email, password }))
    if (loggedIn.status === 200 && buyers.length < maxBuyers) {
      const { id } = loggedIn.body.user
      buyers.push({ id, email, password, client, orders: [], carts: new Map(), fillingCart: false })
    }
    return loggedIn
  }

  /** With another browser: a client that loses the response to a log-in loses the session that it renewed. */
  const logInElsewhere = async () => {
    const client = newClient()
    const answer = await logIn(client, random.pick(buyers))
    client.close()
    return answer
  }

  const order = async () => {
    const buyer = random.pick(buyers)
    const showId = random.pick(shows)
    const quantity = random.whole(1, 4)
    const meant: MeantOrder = {
      key: randomUUID(),
      userId: buyer.id,
      showId,
      quantity,
      unanswered: 0,
      refused: false,
      cancels: 0,
    }
    ledger.orders.push(meant)
    buyer.orders.push(meant)
    const once = async () => {
      const headers = { 'Idempotency-Key': meant.key }
      const wasAccepted = meant.answer !== undefined
      const answer = await asBuyer('order', buyer, 'post', `/v1/shows/${showId}/orders`, { quantity }, headers)
      if (answer.status === 201) {
        if (meant.answer && meant.answer.id !== answer.body.id) count(ledger.wrongs, 'order: two ids for one key')
        meant.answer = answer.body
      } else if (answer.body?.code === 'E_SOLD_OUT') {
        // Two simultaneous clicks may lead to one refusal and one success, because of a cancellation in between.
        if (wasAccepted) count(ledger.wrongs, 'order: sold out after it was accepted')
        meant.refused = true
      } else if (answer.status === 409) {
        return { ...answer, status: 503 } // a copy is under way: not known yet
      } else if (isOpen(answer)) {
        meant.unanswered++
      } else {
        count(ledger.wrongs, `order: ${answer.status} ${answer.body?.code}`)
      }
      return answer
    }
    return await insist(7, async () => {
      if (random.next() > 0.1) return once()
      const [first, second] = await Promise.all([once(), once()]) // a double click
      return isOpen(first) ? second : first
    })
  }

  const cancel = async () => {
    const buyer = random.pick(buyers)
    const candidates = buyer.orders.filter(({ answer, cancels }) => answer && cancels === 0)
    if (candidates.length === 0) return read()
    const meant = random.pick(candidates)
    return await insist(5, async () => {
      meant.cancels++
      const answer = await asBuyer('cancel', buyer, 'delete', `/v1/orders/${meant.answer?.id}`)
      if (answer.status === 200) meant.cancelled = answer.body.status
      else if (answer.body?.code === 'E_ORDER_BUSY') return { ...answer, status: 503 }
      else if (!isOpen(answer)) count(ledger.wrongs, `cancel: ${answer.status} ${answer.body?.code}`)
      return answer
    })
  }

  const fillCart = async () => {
    const buyer = random.pick(buyers)
    if (buyer.fillingCart) return read()
    buyer.fillingCart = true
    const showId = random.pick(shows)
    const quantity = random.whole(1, 100)
    const answer = await asBuyer('cart', buyer, 'put', `/v1/cart/items/${showId}`, { quantity })
    const before = buyer.carts.get(showId) ?? { quantity: 0, unanswered: new Set() }
    if (answer.status === 200) before.quantity = quantity
    else before.unanswered.add(quantity)
    buyer.carts.set(showId, before)
    buyer.fillingCart = false
    return answer
  }

  const changeShow = async () => {
    const showId = random.pick(shows)
    if (patching.has(showId)) return read()
    patching.add(showId)
    const found = await send('show', organiser, 'get', `/v1/shows/${showId}`)
    const name = `Endurance ${randomUUID()}`
    const change = { name, priceCents: random.whole(10, 20) * 100 }
    const answer =
      found.status === 200
        ? await send('change', organiser, 'patch', `/v1/shows/${showId}`, change, {
            'If-Match': `"${found.body.version}"`,
          })
        : found
    if (answer.status === 401) await organiser.logInAsOrganiser().catch(() => undefined)
    if (answer.status === 200 && found.status === 200) ledger.shows.set(showId, { version: answer.body.version, name })
    patching.delete(showId)
    return answer
  }

  const read = async (): Promise<ClientAnswer> => {
    const buyer = random.pick(buyers)
    const accepted = buyer.orders.filter(({ answer }) => answer)
    const roll = random.next()
    if (roll < 0.2) return asBuyer('session', buyer, 'get', '/v1/session')
    if (roll < 0.4) return asBuyer('cart', buyer, 'get', '/v1/cart')
    if (roll < 0.55) return asBuyer('orders', buyer, 'get', '/v1/orders')
    if (roll < 0.8 && accepted.length > 0) {
      const answer = await asBuyer('order', buyer, 'get', `/v1/orders/${random.pick(accepted).answer?.id}`)
      if (answer.status === 404) count(ledger.wrongs, 'order: accepted, and not found')
      return answer
    }
    return send('show', buyer.client, 'get', roll < 0.9 ? '/v1/shows' : `/v1/shows/${random.pick(shows)}`)
  }

  while (buyers.length < firstBuyers) expectStatus(await signUp(), 200)
  const work: [number, () => Promise<ClientAnswer>][] = [
    [0.02, signUp],
    [0.04, logInElsewhere],
    [0.34, order],
    [0.44, cancel],
    [0.56, fillCart],
    [0.58, changeShow],
    [1, read],
  ]
  const traffic = startTraffic(perSecond, () => {
    const roll = random.next()
    return (work.find(([below]) => roll < below)?.[1] ?? read)()
  })
  return {
    buyers,
    redisLost() {
      for (const { carts } of buyers) for (const { unanswered } of carts.values()) unanswered.add(0)
    },
    async stop() {
      await traffic.stop()
      organiser.close()
    },
  }
}

/** A show with plenty of tickets, one with few, and one whose payment is always declined. */
async function addShows(organiser: Client, ledger: Ledger): Promise<string[]> {
  const startsAt = new Date(Date.now() + 30 * 24 * 3_600_000).toISOString()
  const add = async (capacity: number) => {
    const show = { name: 'Endurance', startsAt, priceCents: 1000, currency: 'EUR', capacity }
    const { id, version, name } = expectStatus(await organiser.post('/v1/shows', show), 201).body
    ledger.shows.set(id, { version, name })
    return id as string
  }
  return [await add(100_000), await add(20_000), await add(60)]
}
