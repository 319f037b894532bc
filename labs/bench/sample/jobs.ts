import { setTimeout as wait } from 'node:timers/promises'
import { startMail } from '@escala/testing/peers/mail'
import { startPayments } from '@escala/testing/peers/payments'
import { withClient } from '@escala/testing/test-database'
import type pg from 'pg'
import { cpuBetween, readCpu } from '../cpu.ts'
import { type Bench, type Measure, needsBefore } from '../measure.ts'
import { createProduct } from '../product.ts'
import { inTurns } from '../rounds.ts'
import { notMeasured, toRow } from '../rows.ts'
import { addShows } from './shows.ts'

const budget = { atLeast: 3 }
// So many orders that a worker does nothing for a minute are a worker that is broken.
const patienceMs = 60_000

/** Orders that wait are charged over HTTP and confirmed by mail: two jobs each. */
export const jobs: Measure = {
  name: 'jobs',
  title: 'jobs of one worker: each order is charged over HTTP, then confirmed by mail',
  async run(bench) {
    const { stage, size, signal, beside } = bench
    const [payments, mail] = await Promise.all([startPayments(), startMail()])
    stage.keep(payments)
    stage.keep(mail)
    const env = { PAYMENTS_URL: payments.url, SMTP_URL: mail.smtpUrl, MAIL_FROM: 'bench@example.com' }
    const now = await startShop(bench, env, await createProduct(stage, 'jobs'))
    // Its own, too: what the API has placed meanwhile would come first.
    const before = beside && (await startShop(bench, env, await createProduct(stage, 'jobs-before', beside)))
    const shops = { now, ...(before && { before }) }
    const work = (name: string) =>
      shops[name as keyof typeof shops]?.confirm(size.jobs) ?? Promise.reject(new Error(name))
    const names = Object.keys(shops)
    await inTurns(names, 1, signal, work) // connections, plans and V8
    const seen = await inTurns(names, Math.max(2, size.rounds >> 1), signal, work)
    await Promise.all([now, ...(before ? [before] : [])].map((shop) => shop.stop()))
    const perSecond = ({ perSecond }: Work) => perSecond
    return {
      rows: [
        toRow('jobs a second', seen.of('now', perSecond)),
        toRow(
          'microseconds of the worker for each job',
          seen.of('now', ({ cpu }) => cpu),
        ),
        before
          ? toRow('jobs a second, to before', seen.ratios('now', 'before', perSecond), { budget })
          : notMeasured('jobs a second, to before', needsBefore, budget),
      ],
    }
  },
}

interface Work {
  perSecond: number
  /** Microseconds of the worker's for each job. */
  cpu: number
}

async function startShop(
  { signal }: Bench,
  env: Record<string, string>,
  product: Awaited<ReturnType<typeof createProduct>>,
) {
  const worker = await product.start('worker', env)
  const [show] = await addShows(product.databaseUrl, 1)
  const once = async (client: pg.Client, orders: number): Promise<Work> => {
    const before = readCpu(worker.pid)
    const startedAt = performance.now()
    await client.query(addOrders, [show, orders])
    // Statuses are a small part of the work; the index of unsettled orders is not asked, since it differs between versions.
    while ((await client.query(unconfirmed)).rows[0].waiting) {
      if (performance.now() - startedAt > patienceMs) throw new Error(`${product.name}: orders were not confirmed`)
      await wait(20, undefined, { signal })
    }
    const seconds = (performance.now() - startedAt) / 1000
    return { perSecond: (2 * orders) / seconds, cpu: cpuBetween(before, readCpu(worker.pid)) / (2 * orders) }
  }
  return {
    confirm: (orders: number) => withClient(product.databaseUrl, (client) => once(client, orders)),
    stop: () => worker.terminate(),
  }
}

// As the API leaves them.
const addOrders = `WITH placed AS (
    INSERT INTO orders (id, user_id, show_id, quantity, total_cents, currency, hold_until, request_id)
    SELECT gen_random_uuid(), (SELECT id FROM users LIMIT 1), $1, 1, 1000, 'EUR', now() + interval '1 hour', 'bench'
    FROM generate_series(1, $2::int) RETURNING id
  )
  INSERT INTO outbox (type, aggregate, payload, request_id)
  SELECT 'order.charge', id::text, json_build_object('version', 1, 'orderId', id), 'bench' FROM placed`

const unconfirmed = `SELECT EXISTS (SELECT FROM orders WHERE request_id = 'bench' AND status <> 'confirmed') AS waiting`
