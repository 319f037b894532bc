import { connect, type Socket } from 'node:net'
import { readConfig } from '@escala/kit/config/config.ts'
import { templateDatabase } from '@escala/testing/template.ts'
import { createTestDatabase } from '@escala/testing/test-database.ts'
import { type Api, apiConfigSettings, compose, type Parts } from './compose.ts'

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
    SESSION_SECRETS: 'a'.repeat(32),
    HOST: '127.0.0.1',
    PORT: '0',
    INTERNAL_PORT: '0',
    LOG_LEVEL: 'silent',
    REFUSE_MS: '0',
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

export interface RawConnection {
  socket: Socket
  /** Everything that has arrived so far. */
  received(): string
  write(bytes: string | Buffer): void
  /** Resolves with the part that matches, and forgets everything up to its end. Rejects when the connection ends first, or after `timeoutMs`. */
  next(pattern: RegExp, timeoutMs?: number): Promise<RegExpExecArray>
}

/** A bare connection, for what no HTTP client would send. */
export function openRaw(port: number, localAddress?: string): RawConnection {
  let text = ''
  const socket = connect({ port, host: '127.0.0.1', localAddress })
  socket.on('error', () => undefined)
  socket.on('data', (chunk) => {
    text += chunk.toString('latin1')
  })
  return {
    socket,
    received: () => text,
    write: (bytes) => void socket.write(bytes),
    next: (pattern, timeoutMs = 10_000) =>
      new Promise((resolve, reject) => {
        const stop = (error?: Error, found?: RegExpExecArray) => {
          clearTimeout(timer)
          socket.off('data', look).off('close', end)
          if (found) resolve(found)
          else reject(error)
        }
        const fail = (why: string) => stop(new Error(`${why}, having received: ${text.slice(0, 500)}`))
        const look = () => {
          const found = pattern.exec(text)
          if (!found) return
          text = text.slice(found.index + found[0].length)
          stop(undefined, found)
        }
        const end = () => fail('the connection ended')
        const timer = setTimeout(() => fail(`nothing matched ${pattern} in ${timeoutMs} ms`), timeoutMs)
        socket.on('data', look).on('close', end)
        if (socket.destroyed) end()
        else look()
      }),
  }
}
