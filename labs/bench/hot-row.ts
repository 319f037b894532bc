import { setTimeout as wait } from 'node:timers/promises'
import { createLog } from '@escala/kit/log/log.ts'
import { createPostgres, type Postgres, type Sql } from '@escala/kit/postgres/postgres.ts'
import { Redis } from 'ioredis'

export interface HotRowOptions {
  databaseUrl: string
  redisUrl: string
  rounds: number
  hotRowMs: number
}

const replicas = 3
const inFlight = 10
const stock = 1_000_000

const insert = { name: 'bench-insert', text: 'INSERT INTO bench_orders (quantity) VALUES ($1)' }
const read = { name: 'bench-read', text: 'SELECT available FROM bench_stock' }
const readLocked = { name: 'bench-lock', text: 'SELECT available FROM bench_stock FOR UPDATE' }
const write = { name: 'bench-write', text: 'UPDATE bench_stock SET available = $1' }
const take = { name: 'bench-take', text: 'UPDATE bench_stock SET available = available - $1 WHERE available >= $1' }
const takeAndInsert = {
  name: 'bench-statement',
  text: `WITH taken AS (UPDATE bench_stock SET available = available - $1 WHERE available >= $1 RETURNING available)
    INSERT INTO bench_orders (quantity) SELECT $1 FROM taken`,
}

/** Ways to sell what everybody wants, on three pools as of three replicas. */
export async function measureHotRow({ databaseUrl, redisUrl, rounds, hotRowMs }: HotRowOptions) {
  const log = createLog({ service: 'bench', replicaId: 'bench', version: '', level: 'silent' })
  const connect = () =>
    createPostgres({ url: databaseUrl, log, applicationName: 'bench', maxConnections: inFlight, timeoutMs: 10_000 })
  const pools = Array.from({ length: replicas }, connect)
  const [pool] = pools as [Postgres]
  const redis = new Redis(redisUrl)
  await pool.query('CREATE TABLE bench_stock (available int CHECK (available >= 0))')
  await pool.query('CREATE TABLE bench_orders (quantity int)')

  const readThenWrite = (statement: typeof read) => async (tx: Sql) => {
    const { rows } = await tx.query<{ available: number }>(statement)
    await tx.query(write, [(rows[0]?.available ?? 0) - 1])
    await tx.query(insert, [1])
  }
  const ways: Record<string, (postgres: Postgres) => Promise<unknown>> = {
    'a Redis lock around read, check and write': async (postgres) => {
      while ((await redis.set('bench:lock', '1', 'PX', 10_000, 'NX')) === null) await wait(2 + Math.random() * 8)
      await postgres.transaction(readThenWrite(read))
      await redis.del('bench:lock')
    },
    'SELECT … FOR UPDATE': (postgres) => postgres.transaction(readThenWrite(readLocked)),
    'a conditional UPDATE, the order in a second statement': (postgres) =>
      postgres.transaction(async (tx) => {
        await tx.query(take, [1])
        await tx.query(insert, [1])
      }),
    'a conditional UPDATE and the order in one statement': (postgres) => postgres.query(takeAndInsert, [1]),
  }

  const measure = async (sell: (postgres: Postgres) => Promise<unknown>) => {
    await pool.query('TRUNCATE bench_orders, bench_stock')
    await pool.query('INSERT INTO bench_stock VALUES ($1)', [stock])
    const until = performance.now() + hotRowMs
    let sold = 0
    const startedAt = performance.now()
    await Promise.all(
      pools.flatMap((postgres) =>
        Array.from({ length: inFlight }, async () => {
          while (performance.now() < until) {
            await sell(postgres)
            sold++
          }
        }),
      ),
    )
    const perSecond = sold / (performance.now() - startedAt)
    const { rows } = await pool.query<{ available: number }>(read)
    return { perSecond, oversold: sold - (stock - (rows[0]?.available ?? 0)) }
  }

  const names = Object.keys(ways)
  const results = new Map(names.map((name) => [name, [] as Awaited<ReturnType<typeof measure>>[]]))
  for (let round = -1; round < rounds; round++) {
    for (const name of round % 2 ? names.toReversed() : names) {
      const result = await measure(ways[name] as (typeof ways)[string])
      if (round >= 0) results.get(name)?.push(result) // the first round is to warm up
    }
  }
  await Promise.all(pools.map((postgres) => postgres.stop()))
  redis.disconnect()
  const base = results.get(names[0] as string) ?? []
  return [...results].map(([name, seen]) => ({
    name,
    ratio: seen.map(({ perSecond }, i) => perSecond / (base[i]?.perSecond ?? 1)),
    oversold: seen.reduce((sum, { oversold }) => sum + oversold, 0),
  }))
}
