import { hostname } from 'node:os'
import { z } from 'zod'
import { flag, fraction, integer, url } from './config.ts'

// A list of Sentinels or of the nodes of a Cluster has commas or a protocol of its own.
const oneRedis = url('redis', 'rediss').describe(
  'redis://USER:PASSWORD@HOST:PORT or rediss://… of one server; Redis Sentinel and Redis Cluster are not supported',
)

/** Variables that the API and the worker share. */
export const baseSettings = {
  NODE_ENV: z.enum(['development', 'test', 'production']).default('production'),
  LOG_LEVEL: z.enum(['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent']).default('info'),
  VERSION: z.string().max(100).default('0.1.0'),
  REPLICA_ID: z
    .string()
    .regex(/^[\w.-]{1,40}$/)
    .default(() => `${hostname().slice(0, 24)}-${process.pid}`)
    .describe('1 to 40 letters, digits, dots, dashes or underscores'),
  HOST: z.string().default('0.0.0.0'),
  DATABASE_URL: url('postgres', 'postgresql'),
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
