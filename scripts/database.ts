import { baseSettings, withPasswords } from '@escala/kit/config/base'
import { readConfig } from '@escala/kit/config/config'
import { hasCode } from '@escala/kit/errors/app-error'
import { createLog, type Logger } from '@escala/kit/log/log'
import { describeFailure } from '@escala/kit/postgres/failures'
import { createPostgres, type Postgres } from '@escala/kit/postgres/postgres'

/** For a script: one connection to `DATABASE_URL`. Ends the process when that is missing or wrong. */
export function connectDatabase(name: string): { postgres: Postgres; log: Logger } {
  const log = createLog({ service: name, replicaId: name, version: '', level: 'warn' })
  try {
    const { DATABASE_URL: url } = readConfig(withPasswords(process.env), { DATABASE_URL: baseSettings.DATABASE_URL })
    return { log, postgres: createPostgres({ url, log, applicationName: name, maxConnections: 1, timeoutMs: 5000 }) }
  } catch (error) {
    console.error(error instanceof Error ? error.message : String(error))
    process.exit(1)
  }
}

/** Says for people what went wrong, and what to do when it is the database. */
export function explain(error: unknown): string {
  if (!hasCode(error, 'E_POSTGRES_UNAVAILABLE')) return error instanceof Error ? error.message : String(error)
  return `the database cannot be used: ${describeFailure(error)}. Look at DATABASE_URL and whether the server runs, then run this again`
}
