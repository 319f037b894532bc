import { baseOrders, baseSettings } from '@escala/kit/config/base'
import { type Config, integer, type Order, url } from '@escala/kit/config/config'
import { z } from 'zod'

/** Every variable of the worker; `docs/configuration.md` explains each. */
export const workerSettings = {
  ...baseSettings,
  INTERNAL_PORT: integer(0, 65_535, 4100),
  JOB_CONCURRENCY: integer(1, 1000, 10),
  JOB_ATTEMPTS: integer(1, 100, 10),
  JOB_BACKOFF_MS: integer(1, 3_600_000, 1000),
  /** How long the jobs of a worker that died stay with it, and how often it is looked for such jobs. */
  JOB_LOCK_MS: integer(100, 3_600_000, 30_000),
  JOB_STALLED_MS: integer(50, 3_600_000, 30_000),
  SMTP_URL: url('smtp', 'smtps'),
  /** To the mail server, of each worker. */
  MAIL_CONNECTIONS: integer(1, 1000, 10),
  MAIL_FROM: z.string().min(3).max(200).default('Escala <escala@example.com>'),
  BREAKER_FAILURES: integer(1, 1000, 5),
  BREAKER_OPEN_MS: integer(10, 30_000, 2000),
  /** How often the schedules are put right: after Redis lost its data, or the last worker that knew one is gone. */
  SCHEDULES_REPAIR_MS: integer(50, 3_600_000, 30_000),
  /** Longest time that a message waits in the outbox when its hint was lost. */
  OUTBOX_POLL_MS: integer(10, 60_000, 1000),
}

export type WorkerConfig = Config<typeof workerSettings>

/** Bounds that stand within each other. */
export const workerOrders: Order<keyof typeof workerSettings>[] = [
  ...baseOrders,
  {
    lesser: 'REDIS_TIMEOUT_MS',
    greater: 'DATABASE_TIMEOUT_MS',
    times: 0.5,
    why: 'since the relay adds jobs to Redis within a transaction, which the server ends after 0.75 × DATABASE_TIMEOUT_MS without a statement',
  },
]
