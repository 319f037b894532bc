import { setTimeout as wait } from 'node:timers/promises'
import type { Replica } from '@escala/testing/replica'
import { withClient } from '@escala/testing/test-database'
import { increase, readWakeUps } from '../counters.ts'
import { cpuBetween, readCpu } from '../cpu.ts'
import type { Bench, Measure } from '../measure.ts'
import { createProduct, type Product } from '../product.ts'
import type { Row } from '../rows.ts'
import { toRow } from '../rows.ts'
import type { Stage } from '../stage.ts'

/** What one API replica and one worker do while no request comes, each in a system of its own. */
export const idle: Measure = {
  name: 'idle',
  title: 'an idle replica and an idle worker, by the counters of Postgres and of the kernel',
  async run(bench) {
    const { stage, size, signal } = bench
    await withClient(stage.postgres.url, async (client) => {
      if (stage.countsStatements) await client.query('CREATE EXTENSION IF NOT EXISTS pg_stat_statements')
    })
    const api = await startIdle(bench, 'idle-api', 'api')
    const worker = await startIdle(bench, 'idle-worker', 'worker')
    await wait(size.settleMs, undefined, { signal })
    const finish = [await api.begin(), await worker.begin()]
    await wait(size.idleMs, undefined, { signal })
    const [ofApi, ofWorker] = (await Promise.all(finish.map((end) => end()))) as [Rates, Rates]
    await Promise.all([api, worker].map(({ replica }) => replica.terminate()))
    return { rows: [...toRows('replica', ofApi, 0.5, stage), ...toRows('worker', ofWorker, 2, stage)] }
  },
}

/** A second. */
interface Rates {
  statements: number
  wakeUps: number
  /** Thousandths of a core. */
  cpu: number
}

function toRows(who: string, { statements, wakeUps, cpu }: Rates, most: number, { countsStatements }: Stage): Row[] {
  const note = countsStatements ? undefined : 'transactions: this Postgres has no pg_stat_statements'
  return [
    toRow(`statements a second, ${who}`, [statements], { budget: { atMost: most }, note }),
    toRow(`wake-ups a second, ${who}`, [wakeUps], who === 'replica' ? { budget: { atMost: 60 } } : {}),
    toRow(`thousandths of a core, ${who}`, [cpu]),
  ]
}

async function startIdle({ stage }: Bench, name: string, role: Replica['role']) {
  const product = await createProduct(stage, name)
  const nobody = { PAYMENTS_URL: 'http://127.0.0.1:9', SMTP_URL: 'smtp://127.0.0.1:9' }
  await countIn(stage, product)
  const replica = await product.start(role, role === 'worker' ? nobody : {})
  return {
    replica,
    /** Reads all counters; what it returns reads them again, and says how fast they went. */
    async begin() {
      const [statements, wakeUps, cpu] = [
        await readStatements(stage, product),
        readWakeUps(replica.pid),
        readCpu(replica.pid),
      ]
      const startedAt = performance.now()
      return async (): Promise<Rates> => {
        const seconds = (performance.now() - startedAt) / 1000
        return {
          wakeUps: increase(wakeUps, readWakeUps(replica.pid)) / seconds,
          cpu: cpuBetween(cpu, readCpu(replica.pid)) / 1000 / seconds,
          statements: ((await readStatements(stage, product)) - statements) / seconds,
        }
      }
    },
  }
}

const databaseOf = ({ databaseUrl }: Product) => new URL(databaseUrl).pathname.slice(1)

/** Counts the statements of the product's connections from now on. */
async function countIn({ postgres, countsStatements }: Stage, product: Product): Promise<void> {
  if (!countsStatements) return
  const name = databaseOf(product)
  await withClient(postgres.url, (client) =>
    client.query(`ALTER DATABASE ${client.escapeIdentifier(name)} SET pg_stat_statements.track = 'top'`),
  )
}

/** Asked from another database, so that asking counts for nothing. Of a server that cannot count statements: transactions. */
function readStatements({ postgres, countsStatements }: Stage, product: Product): Promise<number> {
  const sql = countsStatements
    ? `SELECT coalesce(sum(calls), 0) AS count FROM pg_stat_statements JOIN pg_database ON oid = dbid WHERE datname = $1`
    : 'SELECT xact_commit + xact_rollback AS count FROM pg_stat_database WHERE datname = $1'
  return withClient(postgres.url, async (client) => {
    const { rows } = await client.query<{ count: string }>(sql, [databaseOf(product)])
    return Number(rows[0]?.count ?? 0)
  })
}
