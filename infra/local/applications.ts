import { join } from 'node:path'
import { run } from '@escala/servers/processes'
import { root, type Secrets } from './instance.ts'
import type { Services } from './services.ts'
import { checkedOutVersion } from './version.ts'

export type Environment = Record<string, string | undefined>

// What belongs to one process, to npm or to another installation, and what .env holds for containers.
const notForApplications =
  /^(npm_|PM2_|NODE_OPTIONS$|ESCALA_PARENTS$|INIT_CWD$|COMPOSE_|(INTERNAL_)?(PORT|HOST)$|REPLICA_ID$|SEED$)|^(SEED|POSTGRES|DATABASE(_OWNER)?|(CACHE_)?REDIS)_PASSWORD$|^(CACHE_)?REDIS_URL$|DATABASE_URL$/

/** The caller's environment, of the shell and of `.env`, without what the applications must not get from there. */
function ownSettings(): Environment {
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !notForApplications.test(name)))
}

/** Those variables of the shell and of `.env` that are settings of the applications: what a deploy changes. */
export function callersSettings(known: Iterable<string>): Environment {
  const names = new Set(known)
  return Object.fromEntries(
    Object.entries(ownSettings()).filter(([name]) => names.has(name) || name.startsWith('OTEL_')),
  )
}

/** Of every API replica and worker: where the local services are, and the caller's settings, which win over stand-ins. */
export function applicationEnvironment(services: Services, secrets: Secrets): Environment {
  return {
    ...services.standIns,
    ...ownSettings(),
    EXPOSE_REPLICA: process.env.EXPOSE_REPLICA ?? '1',
    SESSION_SECRETS: process.env.SESSION_SECRETS || secrets.session,
    VERSION: process.env.VERSION || checkedOutVersion(),
    HOST: '127.0.0.1',
    ...services.env,
  }
}

/** Resolves to what it did, in words. Seeds again when SEED_PASSWORD has changed. */
export async function migrateAndSeed(services: Services, secrets: Secrets): Promise<string> {
  const { code, output } = await run(process.execPath, [join(root, 'apps/api/src/migrate.ts'), '--seed'], {
    cwd: root,
    env: {
      ...ownSettings(),
      ...services.env,
      MIGRATION_DATABASE_URL: services.migrationUrl,
      SEED_PASSWORD: seedPassword(secrets),
    },
  })
  if (code !== 0) throw new Error(`the database could not be prepared:\n${output.trim()}`)
  return /migrate: (.*up to date|\d+ migration.*)/.exec(output)?.[1] ?? 'prepared'
}

export function seedPassword(secrets: Secrets): string {
  return process.env.SEED_PASSWORD || secrets.seed
}
