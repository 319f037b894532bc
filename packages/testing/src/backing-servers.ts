import { join } from 'node:path'
import type { CleanUps } from './clean-ups.ts'
import type { Environment } from './environment.ts'
import { type FaultProxy, startFaultProxy } from './fault-proxy.ts'
import { type MailControl, mailControl, startMail } from './peers/mail.ts'
import { type PaymentsControl, paymentsControl, startPayments } from './peers/payments.ts'
import type { RunningServer } from './server-faults.ts'
import type { PostgresPair } from './standby.ts'
import { templateDatabase } from './template.ts'
import { createTestDatabase } from './test-database.ts'

export interface BackingServersOptions {
  /** The fake payment provider and mail server. */
  peers: boolean
  /** Puts `postgresProxy`, `redisProxy` and `cacheRedisProxy` in between; without, replicas connect directly. */
  faults: boolean
  /** One Redis for state and cache, set up as a cache. */
  oneRedis?: boolean
  /** A Postgres server of its own, with these settings. */
  database?: {
    settings: Record<string, string>
    /** With a hot standby, for `failover`. Local processes only. */
    standby?: boolean
  }
  /** The folder of the version whose migrate step makes the database; otherwise this one. */
  checkout?: string
}

/** What the replicas of one cluster share, and nobody else. */
export interface BackingServers {
  /** For the test itself, past any fault. */
  databaseUrl: string
  redisUrl: string
  cacheRedisUrl: string
  postgresProxy?: FaultProxy
  /** The two servers behind `postgresProxy`, and the database of this cluster on each. */
  pair?: PostgresPair
  redisProxy?: FaultProxy
  cacheRedisProxy?: FaultProxy
  /** Their servers. Postgres: only where the cluster has one of its own. */
  servers: { postgres?: RunningServer; redis: RunningServer; cacheRedis: RunningServer }
  payments?: PaymentsControl
  mail?: MailControl
  /** For API and worker. */
  env: Record<string, string>
  /** For the worker alone. */
  peersEnv: Record<string, string>
}

const stateSettings = { 'maxmemory-policy': 'noeviction', appendonly: 'yes' }
const cacheSettings = { maxmemory: '64mb', 'maxmemory-policy': 'allkeys-lru' }

export async function startBackingServers(
  { driver, postgresUrl }: Environment,
  folder: string,
  { keep }: CleanUps,
  options: BackingServersOptions,
): Promise<BackingServers> {
  const { listen: host, reachedAs } = driver.here

  const startOwn = async ({ settings, standby }: { settings: Record<string, string>; standby?: boolean }) => {
    if (!standby) return { own: keep(await driver.startPostgres(folder, settings)) }
    if (!driver.startPostgresPair) throw new Error('a standby needs local processes')
    return { pair: keep(await driver.startPostgresPair(folder, settings)) }
  }
  const startDatabase = async () => {
    const { own, pair } = options.database ? await startOwn(options.database) : {}
    const adminUrl = pair?.primaryUrl() ?? own?.url ?? postgresUrl
    const { url, drop } = await createTestDatabase(adminUrl, {
      template: await templateDatabase(adminUrl, options.checkout),
    })
    if (!own && !pair) keep({ stop: drop })
    return { url, own, pair }
  }
  const startRedis = async (name: string, settings: Record<string, string>) =>
    keep(await driver.startRedis(join(folder, name), settings))
  const startProxy = async (target: string) => keep(await startFaultProxy({ target, host, reachedAs }))
  const startPeers = async () => {
    const payments = keep(await startPayments({ host }))
    const mail = keep(await startMail({ host }))
    const seenFromReplica = (url: string) => url.replace(host, reachedAs)
    return {
      payments: paymentsControl(payments.url),
      mail: mailControl(mail.url),
      peersEnv: { PAYMENTS_URL: seenFromReplica(payments.url), SMTP_URL: seenFromReplica(mail.smtpUrl) },
    }
  }

  const [{ url: databaseUrl, own: postgres, pair }, redis, cacheRedis, peers] = await Promise.all([
    startDatabase(),
    startRedis('state', options.oneRedis ? cacheSettings : stateSettings),
    startRedis('cache', cacheSettings),
    options.peers ? startPeers() : { peersEnv: {} },
  ])
  const redisUrl = redis.url
  const cacheRedisUrl = options.oneRedis ? redisUrl : cacheRedis.url
  // Containers reach this machine's servers only through something that listens for them.
  const proxied = options.faults || reachedAs !== '127.0.0.1'
  const [postgresProxy, redisProxy, cacheRedisProxy] = proxied
    ? await Promise.all([startProxy(databaseUrl), startProxy(redisUrl), startProxy(cacheRedisUrl)])
    : []
  return {
    databaseUrl,
    redisUrl,
    cacheRedisUrl,
    postgresProxy,
    pair,
    redisProxy,
    cacheRedisProxy,
    servers: { postgres, redis, cacheRedis },
    ...peers,
    env: {
      DATABASE_URL: postgresProxy?.url ?? databaseUrl,
      REDIS_URL: redisProxy?.url ?? redisUrl,
      CACHE_REDIS_URL: cacheRedisProxy?.url ?? cacheRedisUrl,
    },
  }
}
