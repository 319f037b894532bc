import { join } from 'node:path'
import { root, type Secrets } from './instance.ts'
import { run } from './processes.ts'
import type { Services } from './services.ts'
import { checkedOutVersion } from './version.ts'

export type Environment = Record<string, string | undefined>

/** The caller's environment, without what belongs to one process, to npm, or to another installation. */
function ownSettings(): Environment {
  const own = /^(npm_|PM2_|PORT$|INTERNAL_PORT$|REPLICA_ID$|SEED_PASSWORD$|NODE_OPTIONS$|ESCALA_PARENTS$|INIT_CWD$)/
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !own.test(name)))
}

/** Of every API replica and worker: the caller's settings, and where the local services are. */
export function applicationEnvironment(services: Services, secrets: Secrets): Environment {
  return {
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
    env: { ...ownSettings(), ...services.env, SEED_PASSWORD: seedPassword(secrets) },
  })
  if (code !== 0) throw new Error(`the database could not be prepared:\n${output.trim()}`)
  return /migrate: (.*up to date|\d+ migration.*)/.exec(output)?.[1] ?? 'prepared'
}

export function seedPassword(secrets: Secrets): string {
  return process.env.SEED_PASSWORD || secrets.seed
}
