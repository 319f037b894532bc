import { allLanes, queueName } from '@escala/kit/jobs/queue'
import type { Cluster } from '@escala/testing/cluster'
import { withClient } from '@escala/testing/test-database'
import { Redis } from 'ioredis'
import type { Client as PgClient } from 'pg'
import { workerLanes } from '../../apps/worker/src/modules.ts'
import { type Check, check } from '../lab.ts'
import type { Ledger, MeantOrder } from './ledger.ts'
import type { Buyer } from './load.ts'

interface OrderRow {
  id: string
  number: string
  user_id: string
  show_id: string
  status: string
  quantity: number
  total_cents: string
  charge_id: string | null
  key: string | null
}

export interface Account {
  checks: Check[]
  /** For the investigation: which orders, and what is wrong with them. */
  findings: string[]
}

/** What is left to do: nothing, once everything has come to rest. */
export async function pendingWork({ databaseUrl, redisUrl }: Cluster): Promise<Record<string, number>> {
  const inPostgres = await withClient(databaseUrl, async (client) => {
    const { rows } = await client.query<Record<string, number>>(
      `SELECT (SELECT count(*)::int FROM orders WHERE status IN ('pending', 'charging', 'paid', 'refunding')) AS orders,
         (SELECT count(*)::int FROM outbox WHERE published_at IS NULL) AS outbox`,
    )
    return rows[0] ?? {}
  })
  const jobs = await withQueue(redisUrl, async ({ waiting, active, delayed }) => waiting + active + delayed)
  return { ...inPostgres, jobs }
}

interface QueueCounts {
  waiting: number
  active: number
  /** Tries to come, without the next runs of schedules. */
  delayed: number
  failed: string[]
  schedules: string[]
}

async function withQueue<T>(redisUrl: string, work: (counts: QueueCounts) => Promise<T>): Promise<T> {
  const redis = new Redis(redisUrl)
  const { prefix } = queueName({})
  const lanes = allLanes({ lanes: workerLanes() })
  const all = async (read: (key: string) => Promise<string[]>, part: string) =>
    (await Promise.all(lanes.map((lane) => read(`${prefix}:${lane}:${part}`)))).flat()
  const listed = (part: string) => all((key) => redis.lrange(key, 0, -1), part)
  const sorted = (part: string) => all((key) => redis.zrange(key, '0', '-1'), part)
  // A schedule's job is there at any time: waiting for its tick, or being done.
  const isScheduled = (id: string) => id.startsWith('repeat:')
  try {
    const [waiting, active, delayed, failed, schedules] = await Promise.all([
      Promise.all([listed('wait'), sorted('prioritized')]).then((lists) => lists.flat()),
      listed('active'),
      sorted('delayed'),
      sorted('failed'),
      sorted('repeat'),
    ])
    return await work({
      waiting: waiting.filter((id) => !isScheduled(id)).length,
      active: active.filter((id) => !isScheduled(id)).length,
      delayed: delayed.filter((id) => !isScheduled(id)).length,
      failed,
      schedules,
    })
  } finally {
    redis.disconnect()
  }
}

/** Compares the system with the responses that its clients got. */
export async function account(cluster: Cluster, ledger: Ledger, buyers: Buyer[]): Promise<Account> {
  const findings: string[] = []
  /** Checks that none of these is there, and names those that are. */
  const none = (name: string, wrong: string[]): Check => {
    findings.push(...wrong.slice(0, 20).map((what) => `${name}: ${what}`))
    return check(name, wrong.length, { equals: 0 })
  }
  const { orders, shows, users, keys } = await withClient(cluster.databaseUrl, readAll)
  const { charges, refunds } = await cluster.payments.seen()
  const mails = await cluster.mail.mails()
  const byId = new Map(orders.map((order) => [order.id, order]))
  const byKey = Map.groupBy(orders, ({ user_id, key }) => `${user_id} ${key}`)
  const chargeOf = new Map(charges.map((charge) => [charge.key, charge]))
  const keyOf = new Map(charges.map((charge) => [charge.id, charge.key]))
  const refundOf = new Map(refunds.map((refund) => [keyOf.get(refund.charge ?? ''), refund]))
  const mailOf = new Map(mails.map((mail) => [mail.messageId, mail]))
  const meantOf = new Map(ledger.orders.flatMap((meant) => (meant.answer ? [[meant.answer.id, meant] as const] : [])))
  const isCharged = ({ id }: OrderRow) => chargeOf.get(id)?.status === 'succeeded'
  const describe = (order: OrderRow) => `${order.id} (number ${order.number}) is ${order.status}`
  const which = (wrong: (order: OrderRow) => boolean) => orders.filter(wrong).map(describe)

  const accepted = ledger.orders.filter(({ answer }) => answer)
  const sameAsTold = ({ answer, userId, showId, quantity }: MeantOrder) => {
    const order = byId.get(answer?.id ?? '')
    return (
      order?.user_id === userId &&
      order.show_id === showId &&
      order.quantity === quantity &&
      Number(order.number) === answer?.number &&
      Number(order.total_cents) === answer.totalCents
    )
  }
  const ordersOf = ({ userId, key }: MeantOrder) => byKey.get(`${userId} ${key}`) ?? []
  const isRefused = ({ answer, refused, unanswered }: MeantOrder) => !answer && refused && unanswered === 0
  const isOpen = ({ answer, unanswered }: MeantOrder) => !answer && unanswered > 0

  const wrongState = (order: OrderRow) => {
    const charge = chargeOf.get(order.id)
    const meant = meantOf.get(order.id)
    switch (order.status) {
      case 'confirmed':
        // An order reported as cancelled, or about to be, must be cancelled.
        return !isCharged(order) || meant?.cancelled === 'cancelled' || meant?.cancelled === 'refunding'
      case 'cancelled':
        return !meant?.cancels
      case 'failed':
        return charge?.status !== 'declined'
      case 'expired':
        return charge !== undefined
      default:
        return true
    }
  }
  const wrongMoney = (order: OrderRow) => {
    const charge = chargeOf.get(order.id)
    const refund = refundOf.get(order.id)
    const wrongAmount = [charge, refund].some((p) => p && p.amountCents !== Number(order.total_cents))
    return wrongAmount || (refund !== undefined) !== (isCharged(order) && order.status === 'cancelled')
  }
  const twice = Map.groupBy(charges, ({ reference }) => reference)
  const carts = await wrongCarts(buyers)
  const { failed, schedules } = await withQueue(cluster.redisUrl, async (counts) => counts)

  const checks = [
    check('orders that were accepted (201)', accepted.length, { atLeast: 1 }),
    none(
      'of them missing, or different from the response',
      accepted.filter((meant) => !sameAsTold(meant)).map(({ key, answer }) => `${key} ${answer?.id}`),
    ),
    none(
      'idempotency keys with more than one order',
      [...byKey].filter(([, list]) => list.length > 1).map(([key]) => key),
    ),
    check('keys whose requests never got a response', ledger.orders.filter(isOpen).length, { atLeast: 0 }),
    check('of them with an order', ledger.orders.filter((m) => isOpen(m) && ordersOf(m).length > 0).length, {
      atLeast: 0,
    }),
    none(
      'orders of keys that were refused (sold out)',
      ledger.orders.filter((meant) => isRefused(meant) && ordersOf(meant).length > 0).map(({ key }) => key),
    ),
    none(
      'orders without a request',
      which(({ key, user_id }) => !ledger.orders.some((m) => m.key === key && m.userId === user_id)),
    ),
    none(
      'stored responses without their order',
      keys.filter(({ id }) => !byId.has(id)).map(({ key }) => key),
    ),
    none(
      'order numbers used twice',
      [...Map.groupBy(orders, ({ number }) => number)].filter(([, list]) => list.length > 1).map(([number]) => number),
    ),
    none('orders in a state that is not final, or is wrong', which(wrongState)),
    check('charges', charges.filter(({ status }) => status === 'succeeded').length, { atLeast: 1 }),
    none(
      'orders charged twice',
      [...twice].filter(([, list]) => list.length > 1).map(([reference]) => reference),
    ),
    none(
      'charges without an order',
      charges.filter(({ key }) => !byId.has(key)).map(({ key }) => key),
    ),
    none('orders with a wrong amount, or a refund too many or too few', which(wrongMoney)),
    check('refunds', refunds.length, { atLeast: 0 }),
    check('mails', mails.length, { atLeast: 1 }),
    check(
      'of them delivered again',
      mails.reduce((sum, { count }) => sum + count - 1, 0),
      { atLeast: 0 },
    ),
    none(
      'confirmed orders without a mail',
      which(({ id, status }) => status === 'confirmed' && !mailOf.has(`<${id}@example.com>`)),
    ),
    none(
      'mails for orders that were never paid',
      which((order) => !isCharged(order) && mailOf.has(`<${order.id}@example.com>`)),
    ),
    none(
      'shows whose tickets do not add up',
      shows
        .filter(({ capacity, available, sold }) => capacity !== available + sold)
        .map(({ id, capacity, available, sold }) => `${id}: ${capacity} ≠ ${available} + ${sold}`),
    ),
    none(
      'changes of shows that were acknowledged and lost',
      shows
        .filter(({ id, version, name }) => {
          const told = ledger.shows.get(id)
          return told && (version < told.version || (version === told.version && name !== told.name))
        })
        .map(({ id }) => id),
    ),
    none(
      'accounts that were acknowledged and lost',
      ledger.emails.filter((email) => !users.has(email)),
    ),
    none('carts that differ from what was acknowledged', carts),
    none('dead letters', failed),
    check('schedules', schedules.length, { atLeast: 2 }),
  ]
  return { checks, findings }
}

async function readAll(client: PgClient) {
  const orders = await client.query<OrderRow>(
    `SELECT o.*, k.key FROM orders o
     LEFT JOIN idempotency_keys k ON k.owner = o.user_id::text AND k.body->>'id' = o.id::text`,
  )
  const shows = await client.query<{
    id: string
    version: number
    name: string
    capacity: number
    available: number
    sold: number
  }>(
    `SELECT id, version, name, capacity, available, coalesce((SELECT sum(quantity)::int FROM orders
       WHERE show_id = shows.id AND status IN ('pending', 'charging', 'paid', 'confirmed')), 0) AS sold FROM shows`,
  )
  const users = await client.query<{ email: string }>('SELECT email FROM users')
  const keys = await client.query<{ key: string; id: string }>(`SELECT key, body->>'id' AS id FROM idempotency_keys`)
  return {
    orders: orders.rows,
    shows: shows.rows,
    users: new Set(users.rows.map(({ email }) => email)),
    keys: keys.rows,
  }
}

async function wrongCarts(buyers: Buyer[]): Promise<string[]> {
  const wrong: string[] = []
  for (const { client, carts, email } of buyers) {
    if (carts.size === 0) continue
    const { status, body } = await client.get('/v1/cart')
    const items = new Map<string, number>(
      (body?.items ?? []).map((i: { showId: string; quantity: number }) => [i.showId, i.quantity]),
    )
    for (const [showId, { quantity, unanswered }] of carts) {
      const found = items.get(showId) ?? 0
      if (status !== 200 || (found !== quantity && !unanswered.has(found))) {
        wrong.push(`${email}: ${status}, ${found} instead of ${[quantity, ...unanswered].join(' or ')}`)
      }
    }
  }
  return wrong
}
