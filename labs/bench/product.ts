import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import type { LocalServer } from '@escala/servers/local-server'
import { createClient } from '@escala/testing/client'
import { type Replica, waitUntilReady } from '@escala/testing/replica'
import { seedPassword, templateDatabase } from '@escala/testing/template'
import { createTestDatabase } from '@escala/testing/test-database'
import { root, type Stage } from './stage.ts'

/** One version of the product, with a database and a Redis of its own. */
export interface Product {
  name: string
  databaseUrl: string
  redis: LocalServer
  secret: string
  /** Starts a process of it, and waits until it is ready. */
  start(role: Replica['role'], env?: Record<string, string>): Promise<Replica>
}

/** `checkout`: a folder with another version, which migrates its own database. */
export async function createProduct(stage: Stage, name: string, checkout = root): Promise<Product> {
  const [redis, databaseUrl] = await Promise.all([stage.startRedis(name), createDatabase(stage, checkout)])
  const secret = randomBytes(32).toString('hex')
  let started = 0
  return {
    name,
    databaseUrl,
    redis,
    secret,
    async start(role, env) {
      const id = `${name}-${role}-${++started}`
      const replica = await stage.driver.startReplica(stage.folder, {
        id,
        role,
        checkout,
        env: {
          NODE_ENV: 'production',
          REPLICA_ID: id,
          DATABASE_URL: databaseUrl,
          REDIS_URL: redis.url,
          CACHE_REDIS_URL: redis.url,
          SESSION_SECRETS: secret,
          DB_CONNECTIONS: '80', // ten for each of eight processes, as the others have
          RATE_LIMIT_PER_MINUTE: '1000000',
          REFUSE_MS: '0',
          MAX_LOOP_DELAY_MS: '10000', // the load runs on the same cores: being late is no reason to refuse
          ...env,
        },
      })
      stage.keep({ stop: replica.remove })
      await waitUntilReady(replica)
      return replica
    },
  }
}

async function createDatabase({ postgres }: Stage, checkout: string): Promise<string> {
  if (checkout === root) {
    return (await createTestDatabase(postgres.url, { template: await templateDatabase(postgres.url) })).url
  }
  const { url } = await createTestDatabase(postgres.url)
  const env = { PATH: process.env.PATH, DATABASE_URL: url, SEED_PASSWORD: seedPassword }
  const child = spawn(process.execPath, [join(checkout, 'apps/api/src/migrate.ts'), '--seed'], { env, cwd: checkout })
  let output = ''
  child.stdout.on('data', (chunk) => (output += chunk))
  child.stderr.on('data', (chunk) => (output += chunk))
  const code = await new Promise((resolve) => child.once('close', resolve))
  if (code !== 0) throw new Error(`the migrate step of ${checkout} failed:\n${output}`)
  return url
}

/** Logs one user in so many times, each from an address of its own; returns the cookies. */
export async function logIn(url: string, times: number, atOnce = 1): Promise<{ id: string; cookies: string[] }> {
  const { id, email, password } = await createClient(url).signUp()
  const cookies: string[] = []
  const one = async (at: number) => {
    const client = createClient(url, { headers: { 'x-forwarded-for': `10.0.0.${at + 1}` } })
    await client.logIn(email, password)
    cookies.push([...client.cookies].map((pair) => pair.join('=')).join('; '))
    client.close()
  }
  for (let at = 0; at < times; at += atOnce) {
    await Promise.all(Array.from({ length: Math.min(atOnce, times - at) }, (_, offset) => one(at + offset)))
  }
  return { id, cookies }
}
