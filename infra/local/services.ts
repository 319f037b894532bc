import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import type { Binaries } from '@escala/servers/binaries'
import type { LocalServer } from '@escala/servers/local-server'
import { startPostgres } from '@escala/servers/postgres'
import { startRedis } from '@escala/servers/redis'
import { startMail } from '@escala/testing/peers/mail'
import { startPayments } from '@escala/testing/peers/payments'
import { folder, type Secrets } from './instance.ts'
import { createRoles } from './roles.ts'

export interface Services {
  /** Variables of the applications that say where everything is. */
  env: Record<string, string>
  /** The same of peers that only pretend: real ones that the caller names go before them. */
  standIns: Record<string, string>
  /** Password of the role that migrates; serving processes do not get it. */
  migrationUrl: string
  /** `GET /_mails` shows what was sent. */
  mailsUrl: string
  /** Those whose end ends everything, by name. */
  servers: Record<string, LocalServer>
  stop(): Promise<void>
}

/** Postgres, the two Redis and the fake payment provider and mail server, with their data in `.escala/`. */
export async function startServices(binaries: Binaries, secrets: Secrets): Promise<Services> {
  await using started = new AsyncDisposableStack()
  const keep = <T extends { stop(): Promise<void> }>(server: T): T => started.adopt(server, (it) => it.stop())
  const [major] = binaries.postgres.version.split('.')
  const dataDir = join(folder, `postgres-${major}`)
  reportOtherMajors(major)
  const redis = { binaries, password: secrets.redis }
  const starting = [
    startPostgres({ binaries, dataDir, password: secrets.postgres }).then(keep),
    // State must not be evicted and should survive a restart; a cache may forget.
    startRedis({
      ...redis,
      dir: join(folder, 'redis-state'),
      settings: { appendonly: 'yes', maxmemory: '256mb', 'maxmemory-policy': 'noeviction' },
    }).then(keep),
    startRedis({
      ...redis,
      dir: join(folder, 'redis-cache'),
      settings: { maxmemory: '64mb', 'maxmemory-policy': 'allkeys-lru' },
    }).then(keep),
    startPayments().then(keep),
    startMail().then(keep),
  ] as const
  await Promise.allSettled(starting) // so that what starts after a failure is stopped, too
  const [postgres, state, cache, payments, mail] = await Promise.all(starting)
  const roles = await createRoles(postgres.url, secrets)
  const stack = started.move()
  return {
    env: {
      DATABASE_URL: roles.servingUrl,
      REDIS_URL: state.url,
      CACHE_REDIS_URL: cache.url,
    },
    standIns: { PAYMENTS_URL: payments.url, SMTP_URL: mail.smtpUrl },
    migrationUrl: roles.ownerUrl,
    mailsUrl: `${mail.url}/_mails`,
    servers: { Postgres: postgres, 'Redis (state)': state, 'Redis (cache)': cache },
    stop: () => stack.disposeAsync(),
  }
}

/** A new major cannot read the data of an older one; it begins with an empty folder of its own, and says so. */
function reportOtherMajors(major: string | undefined) {
  const others = (existsSync(folder) ? readdirSync(folder) : []).filter((name) => /^postgres-\d+$/.test(name))
  if (others.length > 0 && !others.includes(`postgres-${major}`)) {
    console.log(
      `  note       the data in .escala/${others.join(', ')} belongs to another major of Postgres and stays unused`,
    )
  }
}
