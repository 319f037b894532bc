import { readConfig } from '@escala/kit/config/config'
import { templateDatabase } from '@escala/testing/template'
import { createTestDatabase } from '@escala/testing/test-database'
import { type Api, apiConfigSettings, compose, type Parts } from './compose.ts'

/** Settings of a replica that a test talks to: free ports of its own, no log, and a stop that waits for no client. */
export const onLoopback = {
  SESSION_SECRETS: 'a'.repeat(32),
  HOST: '127.0.0.1',
  PORT: '0',
  INTERNAL_PORT: '0',
  LOG_LEVEL: 'silent',
  REFUSE_MS: '0',
}

export interface TestReplicaOptions {
  postgresUrl: string
  redisUrl: string
  env?: Record<string, string>
  parts?: Partial<Parts>
}

/** Starts one replica with a migrated and seeded database of its own. `stop` drops the database, too. */
export async function startTestReplica({ postgresUrl, redisUrl, env, parts }: TestReplicaOptions): Promise<Api> {
  const database = await createTestDatabase(postgresUrl, { template: await templateDatabase(postgresUrl) })
  const values = {
    DATABASE_URL: database.url,
    REDIS_URL: redisUrl,
    CACHE_REDIS_URL: redisUrl,
    ...onLoopback,
    DRAIN_DEADLINE_MS: '1000',
    // How fast a busy machine answers is not what these tests are about.
    REDIS_TIMEOUT_MS: '5000',
    DATABASE_TIMEOUT_MS: '10000',
    MAX_LOOP_DELAY_MS: '10000',
    RATE_LIMIT_PER_MINUTE: '1000000',
    ...env,
  }
  const api = await compose(readConfig(values, apiConfigSettings), parts)
  await api.start()
  return {
    ...api,
    async stop() {
      await api.stop()
      await database.drop()
    },
  }
}
