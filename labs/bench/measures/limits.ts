import { existsSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { run } from '../../../infra/local/processes.ts'
import type { Bench, Measure } from '../measure.ts'
import { measureRounds, perSecond, type Variant } from '../rounds.ts'
import { notMeasured, type Row, toRow } from '../rows.ts'

const clients = 10

/** How far it is from the kit to what Node.js and Postgres can do at most. */
export const limits: Measure = {
  name: 'limits',
  title: 'what is left to the limit: the same read, to Node.js alone and to the SELECT alone',
  async run(bench) {
    const { cast, size, signal } = bench
    const variants: Variant[] = [
      { name: 'raw', actor: await cast.raw(), paths: ['/hello'], connections: 32 },
      { name: 'kit', actor: await cast.kit(), paths: ['/v1/session'], connections: 32 },
    ]
    const { rounds, warmUp, windowMs } = size
    const seen = await measureRounds(variants, { rounds, signal, warmUp: warmUp / 2, windowMs: windowMs * 0.6 })
    const toRaw = seen.ratios('kit', 'raw', perSecond)
    return {
      rows: [
        toRow('requests a second, kit to node:http that says hello', toRaw),
        await toSelects(bench, seen.of('kit', perSecond)),
      ],
    }
  },
}

/** pgbench sends the same prepared statement, and does nothing with the row. */
async function toSelects({ stage, cast, size, signal }: Bench, kit: number[]): Promise<Row> {
  const what = `requests a second, kit to statements of pgbench, ${clients} clients`
  const { path, env } = stage.binaries.postgres
  const pgbench = join(dirname(path), 'pgbench')
  if (!existsSync(pgbench)) return notMeasured(what, 'there is no pgbench beside postgres')
  const { product, userId } = await cast.kit()
  const script = join(stage.folder, 'select.sql')
  await writeFile(script, `SELECT id, email, name FROM users WHERE id = '${userId}';\n`)
  const seconds = Math.max(1, Math.round(size.windowMs / 1000))
  const args = ['-n', '-M', 'prepared', '-c', String(clients), '-T', String(seconds), '-f', script, product.databaseUrl]
  const perSecond: number[] = []
  for (const _ of kit) {
    const { code, output } = await run(pgbench, args, { env: { ...process.env, ...env }, timeoutMs: 30_000, signal })
    const [, tps] = /tps = ([\d.]+)/.exec(output) ?? []
    if (code !== 0 || tps === undefined) throw new Error(`pgbench failed:\n${output}`)
    perSecond.push(Number(tps))
  }
  return toRow(
    what,
    kit.flatMap((value, at) => (perSecond[at] ? [value / perSecond[at]] : [])),
  )
}
