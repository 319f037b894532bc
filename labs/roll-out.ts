import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { createBullmqDeadLetters } from '@escala/kit/jobs/dead-letters'
import { createLog } from '@escala/kit/log/log'
import { createRedis, stopRedis } from '@escala/kit/redis/redis'
import type { ScaleReport } from '@escala/kit/replicas/scale-report'
import { until } from '@escala/servers/waiting'
import type { Cluster } from '@escala/testing/cluster'
import { workerLanes } from '../apps/worker/src/modules.ts'

const log = createLog({ service: 'lab', replicaId: 'lab', version: '', level: 'silent' })

/** The next version's own step, as a deploy runs it. */
export async function runMigrateStep(folder: string, databaseUrl: string): Promise<void> {
  const env = { PATH: process.env.PATH, DATABASE_URL: databaseUrl }
  const child = spawn(process.execPath, [join(folder, 'apps/api/src/migrate.ts')], {
    env,
    stdio: ['ignore', 'ignore', 'inherit'],
  })
  const [code] = await once(child, 'close')
  if (code !== 0) throw new Error('the migrate step of the next version failed')
}

/** As `npm run scale:check` shows them. */
export async function versionsOf(cluster: Cluster): Promise<string> {
  const response = await fetch(`${cluster.replicas[0]?.internalUrl}/scale`)
  const { replicas } = (await response.json()) as ScaleReport
  return [...new Set(replicas.map(({ version }) => version))].sort().join(', ')
}

export async function countDeadLetters(cluster: Cluster): Promise<number> {
  return await withRedis(cluster, async (redis) => {
    const deadLetters = createBullmqDeadLetters({ redis, lanes: workerLanes() })
    try {
      return (await deadLetters.list({ limit: 1000 })).length
    } finally {
      await deadLetters.stop()
    }
  })
}

export async function withRedis<T>(
  cluster: Cluster,
  use: (redis: ReturnType<typeof createRedis>) => Promise<T>,
): Promise<T> {
  const redis = createRedis({ url: cluster.redisUrl, role: 'request', log, timeoutMs: 5000 })
  try {
    await until(() => redis.status === 'ready', 10_000, 'Redis does not answer')
    return await use(redis)
  } finally {
    await stopRedis(redis)
  }
}
