import { randomUUID } from 'node:crypto'
import { readConfig } from '@escala/kit/config/config'
import { createRedis, stopRedis } from '@escala/kit/redis/redis'
import { afterAll, beforeAll, expect, inject, test, vi } from 'vitest'
import { compose, workerConfigSettings } from '../../../apps/worker/src/compose.ts'
import { createShop, log, type Shop } from './test-shop.ts'

let shop: Shop
let redisUrl: string
beforeAll(async () => {
  shop = await createShop(inject('postgresUrl'))
  redisUrl = `${inject('redisUrl')}/13` // a numbered database of its own: the queue's name is a constant
})
afterAll(async () => {
  const redis = createRedis({ url: redisUrl, role: 'blocking', log })
  await redis.flushdb()
  await stopRedis(redis)
  await shop?.stop()
})

async function startWorker() {
  const env = {
    LOG_LEVEL: 'silent',
    REPLICA_ID: `worker-${randomUUID()}`,
    HOST: '127.0.0.1',
    INTERNAL_PORT: '0',
    DATABASE_URL: shop.databaseUrl,
    REDIS_URL: redisUrl,
    CACHE_REDIS_URL: redisUrl,
    DB_CONNECTIONS: '40',
    JOB_CONCURRENCY: '1',
    PAYMENTS_URL: shop.payments.url,
    PAYMENTS_TIMEOUT_MS: '60000',
    SMTP_URL: shop.smtpUrl,
    MAIL_FROM: 'shop@example.com',
    DRAIN_DEADLINE_MS: '100',
  }
  const worker = await compose(readConfig(env, workerConfigSettings))
  await worker.start()
  return worker
}

test('a worker that stops leaves no connection to the mail server', async () => {
  const [ana, show] = await Promise.all([shop.addUser(), shop.addShow(20)])
  const { id } = (await shop.order(ana, show.id)).body
  const worker = await startWorker()
  try {
    await vi.waitFor(async () => expect(await shop.statusOf(id)).toBe('confirmed'), 5000)
    expect(shop.mailConnections()).toBe(1)
  } finally {
    await worker.stop()
  }
  // The server hears of it one turn later; by its own silence the connection would end after five seconds.
  await vi.waitFor(() => expect(shop.mailConnections()).toBe(0), 1000)
})

test('while the provider takes its time, holds end, and orders that are paid get their mail', async () => {
  const [ana, show] = await Promise.all([shop.addUser(), shop.addShow(20)])
  const place = async () => (await shop.order(ana, show.id)).body.id as string
  const paid = await place()
  await shop.run('order.charge', { orderId: paid })
  await shop.postgres.query('UPDATE outbox SET published_at = now()')
  await shop.payments.behave({ hang: true })
  const before = (await shop.payments.seen()).requests
  const charging: string[] = []
  for (let n = 0; n < 5; n++) charging.push(await place())
  const worker = await startWorker()
  try {
    await vi.waitFor(async () => expect((await shop.payments.seen()).requests).toBe(before + 1), 5000)
    await shop.postgres.query(`UPDATE outbox SET published_at = NULL WHERE aggregate = $1 AND type = 'order.mail'`, [
      paid,
    ])
    const states = await Promise.all(charging.map((id) => shop.statusOf(id)))
    const pending = charging.filter((_, at) => states[at] === 'pending')
    expect(pending).toHaveLength(4)
    for (const id of pending) await shop.age(id, 'hold_until')
    const statuses = async () => Promise.all([paid, ...pending].map((id) => shop.statusOf(id)))
    await vi.waitFor(async () => expect(await statuses()).toEqual(['confirmed', ...pending.map(() => 'expired')]), {
      timeout: 12_000, // the sweep's period is five seconds
      interval: 100,
    })
    expect((await shop.payments.seen()).requests).toBe(before + 1)
  } finally {
    await worker.stop()
  }
})
