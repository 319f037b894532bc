import { existsSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { run } from '@escala/servers/processes'
import type { Bench, Measure } from '../measure.ts'
import { inTurns, measureWindow, perSecond, type Variant, warm } from '../rounds.ts'
import { notMeasured, toRow } from '../rows.ts'

const clients = 10

/** How far it is from the kit to what Node.js and Postgres can do at most. */
export const limits: Measure = {
  name: 'limits',
  title: 'what is left to the limit: the same read, to Node.js alone and to the SELECT alone',
  async run(bench) {
    const { cast, size, signal } = bench
    const raw: Variant = { name: 'raw', actor: await cast.raw(), paths: ['/hello'], connections: 32 }
    const kit: Variant = { name: 'kit', actor: await cast.kit(), paths: ['/v1/session'], connections: 32 }
    const selects = await preparePgbench(bench)
    const { rounds, warmUp, windowMs } = size
    await warm([raw, kit], warmUp / 2, signal)
    const names = ['raw', 'kit', ...(selects ? ['pgbench'] : [])]
    const seen = await inTurns(names, rounds, signal, async (name) => {
      if (name === 'pgbench') return (await selects?.()) ?? 0
      return perSecond(await measureWindow(name === 'raw' ? raw : kit, windowMs * 0.6))
    })
    const toSelects = `requests a second, kit to statements of pgbench, ${clients} clients`
    return {
      rows: [
        toRow('requests a second, kit to node:http that says hello', seen.ratios('kit', 'raw', Number)),
        selects
          ? toRow(toSelects, seen.ratios('kit', 'pgbench', Number))
          : notMeasured(toSelects, 'there is no pgbench beside postgres'),
      ],
    }
  },
}

/** Returns what runs pgbench for a second: it sends the same prepared statement, and does nothing with the row. */
async function preparePgbench({ stage, cast, signal }: Bench): Promise<(() => Promise<number>) | undefined> {
  const { path, env } = stage.binaries.postgres
  const pgbench = join(dirname(path), 'pgbench')
  if (!existsSync(pgbench)) return undefined
  const { databaseUrl, userId } = await cast.kit()
  const script = join(stage.folder, 'select.sql')
  await writeFile(script, `SELECT id, email, name FROM users WHERE id = '${userId}';\n`)
  const args = ['-n', '-M', 'prepared', '-c', String(clients), '-T', '1', '-f', script, databaseUrl]
  return async () => {
    const { code, output } = await run(pgbench, args, { env: { ...process.env, ...env }, timeoutMs: 30_000, signal })
    const [, tps] = /tps = ([\d.]+)/.exec(output) ?? []
    if (code !== 0 || tps === undefined) throw new Error(`pgbench failed:\n${output}`)
    return Number(tps)
  }
}
