import { setTimeout as wait } from 'node:timers/promises'
import { baseSteps, baseStopMs, createBase, createInternalPort, createRegistry } from '@escala/kit/composition'
import type { Config } from '@escala/kit/config/config'
import { createClientErrorAnswer, createLargeHeadAnswer } from '@escala/kit/http/client-error'
import { createRefusal } from '@escala/kit/http/refusal'
import { createServerClasses } from '@escala/kit/http/server-classes'
import { createHttpServer } from '@escala/kit/lifecycle/http-server'
import type { Composition } from '@escala/kit/lifecycle/process'
import { runSteps } from '@escala/kit/lifecycle/steps'
import { collectSettings } from '@escala/kit/module'
import { fingerprintSecret } from '@escala/kit/replicas/fingerprints'
import { apiSettings } from './config.ts'
import { apiModules, migrationFolders } from './modules.ts'
import { clusterParts, type Deps, makeParts, type Parts, scopesOf } from './parts.ts'
import { createRequests } from './requests.ts'

export type { Parts } from './parts.ts'

/** The API's own variables and those of the domains that it serves. */
export const apiConfigSettings = collectSettings(apiSettings, apiModules)

export interface Api extends Composition {
  /** Known once started. */
  port(): number
  internalPort(): number
}

/** Longest time of each step of `stop`, beyond the drain: what cannot be reached ends nothing later. */
export const apiStopMs = { parts: 2000, ...baseStopMs }

/** One replica of the API. Holds nothing at module level: it can be called many times in one process. */
export async function compose(config: Config<typeof apiConfigSettings>, replaced: Partial<Parts> = {}): Promise<Api> {
  const base = await createBase(config, 'api')
  const { log, lifecycle, redis, postgres, changes, prefixes } = base
  const cacheRedis = base.connectRedis('request', config.CACHE_REDIS_URL)
  const subscriber = base.connectRedis('subscriber', config.CACHE_REDIS_URL)
  const reader = base.connectRedis('reader')
  const cacheWatch = base.watchRedis(cacheRedis, 'CACHE_REDIS_URL', false)
  const declaredFlags = apiModules.flatMap((module) => module.flags ?? [])
  const deps: Deps = { config, log, postgres, redis, cacheRedis, subscriber, reader, prefixes, changes, declaredFlags }
  const parts = makeParts(deps, replaced)
  const { cache, events, flags } = parts

  const replicas = createRegistry(config, base, {
    scopes: scopesOf(parts),
    secretFingerprints: config.SESSION_SECRETS.map(fingerprintSecret),
    pool: postgres,
    migrations: migrationFolders,
    allowSecretSplit: config.ALLOW_SECRET_SPLIT,
    // A proxy asks for no readiness: what has no connections must not take requests.
    onPlace: (hasPlace) => (hasPlace ? void server.accept() : server.refuse()),
  })
  const classes = createServerClasses(createLargeHeadAnswer(log, config.PROBLEM_BASE_URL))
  const { app, cors, metrics, limits, overload, passwordForms } = createRequests({
    config,
    base,
    deps,
    parts,
    replicas,
    classes,
  })
  const listener = (replaced.listener ?? clusterParts.listener)(app, deps)
  const server = createHttpServer(listener, {
    host: config.HOST,
    port: config.PORT,
    onClientError: createClientErrorAnswer(log, config.PROBLEM_BASE_URL),
    classes,
    refused: createRefusal(log, config.PROBLEM_BASE_URL, cors),
    onListenError: (err) => log.error({ err }, 'cannot listen, retrying'),
  })
  const internal = createInternalPort(config, base, {
    port: config.INTERNAL_PORT ?? (config.PORT === 0 ? 0 : config.PORT + 1000),
    degraded: () => [
      ...(redis.isAnswering() ? [] : ['redis']),
      ...(cacheRedis.isAnswering() && subscriber.isAnswering() ? [] : ['cache redis']),
      ...[cacheWatch.problem() ?? []].flat(),
      ...replicas.problems(),
      ...[cache.degraded() ?? []].flat(),
      ...(limits.degraded() ? ['rate limits count in this process'] : []),
    ],
    metrics: metrics.text,
    scale: replicas.scaleReport,
  })

  const steps = [
    ...baseSteps(base, {
      internal,
      replicas,
      redis: [cacheRedis, subscriber],
      waitingRedis: reader,
      // The cache may be unreachable, but not of a kind that never works.
      check: () => cacheWatch.check(AbortSignal.any([lifecycle.draining, AbortSignal.timeout(1000)])),
    }),
    { name: 'event loop', stop: overload.stop },
    {
      name: 'parts',
      start: flags.start,
      stop: { cache: cache.stop, events: events.stop, flags: flags.stop },
      stopMs: apiStopMs.parts,
    },
    { name: 'password hashes', start: passwordForms.start, stop: passwordForms.stop },
    {
      name: 'requests',
      start: server.start,
      async stop() {
        server.beginDrain()
        await wait(config.DRAIN_DELAY_MS)
        await server.stop({ refuseMs: config.REFUSE_MS, deadlineMs: config.DRAIN_DEADLINE_MS })
      },
    },
  ]
  return { log, port: server.port, internalPort: internal.port, ...runSteps(steps, { lifecycle, log }) }
}
