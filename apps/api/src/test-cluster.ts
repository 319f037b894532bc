import { randomUUID } from 'node:crypto'
import { readConfig } from '@escala/kit/config/config'
import { createLog } from '@escala/kit/log/log'
import { createPostgres } from '@escala/kit/postgres/postgres'
import { type Client, createClient } from '@escala/testing/client'
import { templateDatabase } from '@escala/testing/template'
import { createTestDatabase } from '@escala/testing/test-database'
import { type Api, apiConfigSettings, compose } from './compose.ts'
import { onLoopback } from './test-replica.ts'

export interface TestClusterOptions {
  postgresUrl: string
  redisUrl: string
  env?: Record<string, string>
}

interface ReplicasOptions extends Omit<TestClusterOptions, 'postgresUrl'> {
  databaseUrl: string
}

/** Starts three replicas on a database that is there. */
export async function startReplicas({ databaseUrl, redisUrl, env }: ReplicasOptions): Promise<Api[]> {
  const start = async (id: string) => {
    const config = {
      REPLICA_ID: id,
      DATABASE_URL: databaseUrl,
      REDIS_URL: redisUrl,
      CACHE_REDIS_URL: redisUrl,
      ...onLoopback,
      REDIS_TIMEOUT_MS: '5000',
      DATABASE_TIMEOUT_MS: '10000',
      MAX_LOOP_DELAY_MS: '10000',
      ...env,
    }
    const replica = await compose(readConfig(config, apiConfigSettings))
    await replica.start()
    return replica
  }
  return await Promise.all(['one', 'two', 'three'].map(start))
}

/** Three replicas on one migrated and seeded database. How fast a busy machine answers is not what their tests are about. */
export async function startTestCluster({ postgresUrl, redisUrl, env }: TestClusterOptions) {
  const database = await createTestDatabase(postgresUrl, { template: await templateDatabase(postgresUrl) })
  const log = createLog({ service: 'test', replicaId: 'test', version: '0', level: 'silent' })
  const settings = { url: database.url, log, applicationName: 'test', maxConnections: 2, timeoutMs: 5000 }
  const postgres = createPostgres(settings)
  const replicas = await startReplicas({ databaseUrl: database.url, redisUrl, env })
  let lastAddress = Math.floor(Math.random() * 2 ** 23)
  const newAddress = () => {
    const number = ++lastAddress
    return `10.${(number >> 16) & 255}.${(number >> 8) & 255}.${number & 255}`
  }
  const client = (replica = 0, address = newAddress(), headers: Record<string, string> = {}): Client =>
    createClient(`http://127.0.0.1:${replicas[replica]?.port()}`, {
      headers: { 'x-forwarded-for': address, ...headers },
    })
  return {
    postgres,
    databaseUrl: database.url,
    replicas,
    /** Counters are in a Redis that other tests use too. */
    newAddress,
    /** Talks to one replica, by default from an address of its own. */
    client,
    /** A new user who is logged in at a replica. */
    async loggedIn(replica = 0, account?: { email: string; password: string }) {
      const user = client(replica)
      const { email, password } = account ?? (await user.signUp(`${randomUUID()}@example.com`))
      await user.logIn(email, password)
      return { user, email, password }
    },
    /** The same cookies at every replica. */
    everywhere: (user: Client): Client[] =>
      replicas.map((_, replica) => {
        const copy = client(replica)
        for (const [name, value] of user.cookies) copy.cookies.set(name, value)
        return copy
      }),
    async stop() {
      await Promise.all(replicas.map((replica) => replica.stop()))
      await postgres.stop()
      await database.drop()
    },
  }
}

export type TestCluster = Awaited<ReturnType<typeof startTestCluster>>
