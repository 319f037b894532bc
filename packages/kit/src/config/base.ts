import { randomBytes } from 'node:crypto'
import { hostname } from 'node:os'
import { z } from 'zod'
import { flag, fraction, integer, type Order, url } from './config.ts'
import { postgresUrl } from './postgres-url.ts'

// A list of Sentinels or of the nodes of a Cluster has commas or a protocol of its own.
const oneRedis = url('redis', 'rediss')
  .refine((value) => URL.canParse(value) && /^\/?\d*$/.test(new URL(value).pathname))
  .describe(
    'redis://USER:PASSWORD@HOST:PORT/NUMBER or rediss://… of one server; Redis Sentinel and Redis Cluster are not supported',
  )
type Environment = Record<string, string | undefined>

/**
 * Puts passwords that have a variable of their own into the URLs, percent-encoded: a password can hold any character, and whatever
 * put the variables together need not know about URLs. `CACHE_REDIS_PASSWORD` defaults to `REDIS_PASSWORD`.
 */
export function withPasswords(env: Environment): Environment {
  const { DATABASE_PASSWORD, MIGRATION_DATABASE_PASSWORD, REDIS_PASSWORD, CACHE_REDIS_PASSWORD = REDIS_PASSWORD } = env
  return {
    ...env,
    DATABASE_URL: withPassword(env.DATABASE_URL, DATABASE_PASSWORD),
    MIGRATION_DATABASE_URL: withPassword(env.MIGRATION_DATABASE_URL, MIGRATION_DATABASE_PASSWORD),
    REDIS_URL: withPassword(env.REDIS_URL, REDIS_PASSWORD),
    CACHE_REDIS_URL: withPassword(env.CACHE_REDIS_URL, CACHE_REDIS_PASSWORD),
  }
}

function withPassword(address: string | undefined, password: string | undefined): string | undefined {
  if (!address || !password || !URL.canParse(address)) return address
  const url = new URL(address)
  if (url.password !== '') return address
  url.password = encodeURIComponent(password)
  return url.href
}

/** The host's name and the process. A name of 63 letters may be the cut one of several pods: the suffix distinguishes them. */
export function defaultReplicaId(host: string, pid: number): string {
  const name = host.replace(/[^\w.-]/g, '-').slice(0, 220)
  const cut = host.length >= 63 ? `-${randomBytes(4).toString('hex')}` : ''
  return `${name}-${pid}${cut}`
}

/** Variables that the API and the worker share. */
export const baseSettings = {
  NODE_ENV: z.enum(['development', 'test', 'production']).default('production'),
  APP_NAME: z
    .string()
    .regex(/^[a-z][a-z0-9-]{0,30}$/)
    .default('escala')
    .describe('1 to 31 lower-case letters, digits or dashes, the first a letter'),
  LOG_LEVEL: z.enum(['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent']).default('info'),
  VERSION: z.string().max(100).default('0.1.0'),
  REPLICA_ID: z
    .string()
    .regex(/^[\w.-]{1,253}$/)
    .default(() => defaultReplicaId(hostname(), process.pid))
    .describe('1 to 253 letters, digits, dots, dashes or underscores'),
  HOST: z.string().default('0.0.0.0'),
  /** For operators and orchestrators: nothing that answers there asks who is asking. */
  INTERNAL_HOST: z.string().default('127.0.0.1'),
  /** Opens Node's inspector; see `openInspector`. */
  INSPECT: flag(),
  /** Each goes into the URL of its name, where that has none. */
  DATABASE_PASSWORD: z.string().optional(),
  REDIS_PASSWORD: z.string().optional(),
  CACHE_REDIS_PASSWORD: z.string().optional(),
  DATABASE_URL: postgresUrl(),
  REDIS_URL: oneRedis,
  CACHE_REDIS_URL: oneRedis,
  /** Connections for all processes together; 0: what the server allows, less a reserve. */
  DB_CONNECTIONS: integer(0, 10_000, 0),
  MAX_PROCESSES: integer(1, 1000, 8),
  DATABASE_TIMEOUT_MS: integer(100, 60_000, 2000),
  REDIS_TIMEOUT_MS: integer(20, 10_000, 500),
  PG_NAMED_STATEMENTS: flag(true),
  HEARTBEAT_MS: integer(100, 60_000, 5000),
  DRAIN_DEADLINE_MS: integer(0, 300_000, 15_000),
  ALLOW_PROCESS_SCOPE: flag(),
  /** Switches tracing on; OpenTelemetry itself reads it, too, and its other variables. */
  OTEL_EXPORTER_OTLP_ENDPOINT: url('http', 'https').optional(),
  OTEL_TRACES_SAMPLER_ARG: fraction(1),
}

/** Bounds that stand within each other. */
export const baseOrders: Order<keyof typeof baseSettings>[] = [
  {
    lesser: 'DATABASE_TIMEOUT_MS',
    greater: 'HEARTBEAT_MS',
    times: 2,
    why: 'since a process is dead after three heartbeats, and one slow statement must not cost it its place',
  },
]
