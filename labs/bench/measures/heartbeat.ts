import { randomUUID } from 'node:crypto'
import { createLog } from '@escala/kit/log/log'
import { createPostgres } from '@escala/kit/postgres/postgres'
import { templateDatabase } from '@escala/testing/template'
import { createTestDatabase } from '@escala/testing/test-database'
import { beat, writeRow } from '../../../packages/kit/src/replicas/statements.ts'
import { cpuBetween, readCpu } from '../cpu.ts'
import type { Bench, Measure } from '../measure.ts'
import { inTurns } from '../rounds.ts'
import { toRow } from '../rows.ts'

const [few, many] = [3, 300]

/** Whether a process pays for the others: a heartbeat that reads all of them costs N processes N × N. */
export const heartbeat: Measure = {
  name: 'heartbeat',
  title: 'a heartbeat in the registry of processes',
  async run(bench) {
    const registries = { few: await openRegistry(bench, few), many: await openRegistry(bench, many) }
    const measure = (name: string) => registries[name as keyof typeof registries].beat(bench.size.beats)
    await inTurns(['few', 'many'], 1, bench.signal, measure) // connections and plans
    const seen = await inTurns(['few', 'many'], bench.size.rounds, bench.signal, measure)
    await Promise.all(Object.values(registries).map((registry) => registry.close()))
    return {
      rows: [
        toRow(`microseconds of Postgres for a heartbeat, ${few} processes`, seen.of('few', Number)),
        toRow(`microseconds, ${many} processes to ${few}`, seen.ratios('many', 'few', Number), {
          budget: { atMost: 1.5 },
        }),
      ],
    }
  },
}

async function openRegistry({ stage }: Bench, processes: number) {
  const template = await templateDatabase(stage.postgres.url)
  const { url, drop } = await createTestDatabase(stage.postgres.url, { template })
  const log = createLog({ service: 'bench', replicaId: 'bench', version: '', level: 'silent' })
  const postgres = createPostgres({ url, log, applicationName: 'bench', maxConnections: 1, timeoutMs: 10_000 })
  const incarnations = Array.from({ length: processes }, () => randomUUID())
  for (const [at, incarnation] of incarnations.entries()) {
    await writeRow(postgres, {
      ...{ incarnation, id: `process-${at}`, role: 'api', version: 'bench', scopes: {}, secretFingerprints: [] },
      ...{ schedules: [], ttlMs: 3_600_000, poolSize: 1, admitted: true, clockOffsetMs: 0 },
    })
  }
  return {
    /** Each process in turn; returns the processor time of one heartbeat. */
    async beat(times: number): Promise<number> {
      const before = readCpu(stage.postgres.pid)
      for (let at = 0; at < times; at++) await beat(postgres, incarnations[at % processes] as string, 0)
      return cpuBetween(before, readCpu(stage.postgres.pid)) / times
    },
    async close() {
      await postgres.stop()
      await drop()
    },
  }
}
