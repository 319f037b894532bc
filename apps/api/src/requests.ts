import { hasRole } from '@escala/accounts/accounts'
import { findBearer } from '@escala/accounts/tokens'
import type { Base } from '@escala/kit/composition'
import type { Config } from '@escala/kit/config/config'
import { createStreams } from '@escala/kit/events/follow'
import { createPlaces } from '@escala/kit/events/places'
import { createEventStreams } from '@escala/kit/events/sse'
import { createCors } from '@escala/kit/http/cors'
import { createOriginCheck } from '@escala/kit/http/origin-check'
import type { Route } from '@escala/kit/http/route'
import { createSessionAndLimits } from '@escala/kit/http/session-and-limits'
import { type ApiModule, type ApiParts, collectPersonalData, type Downloads } from '@escala/kit/module'
import { createOverload, essentialRoutes } from '@escala/kit/overload/overload'
import { createPasswords, type Passwords } from '@escala/kit/passwords/passwords'
import { createPasswordForms } from '@escala/kit/passwords/roll-out'
import { createLogInGuard } from '@escala/kit/rate-limits/log-in-guard'
import { addressKey } from '@escala/kit/rate-limits/middleware'
import type { Replicas } from '@escala/kit/replicas/replicas'
import { settleBearer, withBearers } from '@escala/kit/sessions/bearer'
import { createDeviceCookies } from '@escala/kit/sessions/device'
import { createSessionMiddleware } from '@escala/kit/sessions/middleware'
import type { Request } from 'express'
import { type AppOptions, createApp } from './app.ts'
import type { apiSettings } from './config.ts'
import { createLimits } from './limits.ts'
import { addApiMetrics } from './metrics.ts'
import { apiModules, flagsRole, roles } from './modules.ts'
import type { Deps, MadeParts } from './parts.ts'
import { flagRoutes } from './routes/flags.ts'

type ApiConfig = Config<typeof apiSettings>

/** Files that are being sent, whose clients may read slowly: each may be 2 MiB of this process's memory. */
const downloadLimits = { most: 100, mostPerClient: 32 }

export interface RequestsOptions {
  config: ApiConfig
  base: Base
  deps: Deps
  parts: MadeParts
  replicas: Replicas
  classes: AppOptions['classes']
}

/** Everything that answers requests: the application, what the modules get for their routes, and what bounds and counts both. */
export function createRequests({ config, base, deps, parts, replicas, classes }: RequestsOptions) {
  const { log, postgres, lifecycle, metrics } = base
  const limits = createLimits({ config, rateLimits: parts.rateLimits, log, share: replicas.liveApis })
  const passwordForms = createPasswordForms({
    postgres,
    changes: deps.changes,
    log,
    isWanted: config.PASSWORD_HASH === 'argon2id',
  })
  const eventStreams = createEventStreams({
    draining: lifecycle.draining,
    maxStreams: config.MAX_STREAMS,
    maxStreamsPerClient: config.STREAMS_PER_ADDRESS,
    share: replicas.liveApis,
    maxAgeMs: config.MAX_STREAM_AGE_MS,
    isPrivate: (req) => privatePaths.has(req.routerPath ?? req.route?.path),
    clientOf: addressKey,
    onOpen: (req) => overload.exempt(req),
  })
  const streams = createStreams(eventStreams, parts.events)
  const downloads = createDownloads(replicas.liveApis, (req) => overload.exempt(req))
  const passwords = createPasswords({ mayWriteArgon2id: passwordForms.mayWriteArgon2id })
  const scopes = () => [...new Set([...routes, ...routers].flatMap(({ scopes }) => scopes ?? []))]
  const basicParts = { ...parts, postgres, log, streams, downloads, scopes, ...accountParts(passwords) }
  const shared = { ...basicParts, personalData: collectPersonalData(apiModules, basicParts, config) }
  const given = apiModules.map((module): [ApiModule, ApiParts] => [
    module,
    { ...shared, metrics: metrics.ofModule(module.name) },
  ])
  const routes: Route[] = [
    ...flagRoutes({ flags: parts.flags, role: flagsRole }),
    ...given.flatMap(([module, parts]) =>
      module.routes(parts, config).map((route) => ({ tag: module.name, ...route })),
    ),
  ]
  const routers = given.flatMap(([module, parts]) => module.routers?.(parts, config) ?? [])
  const isOfUsers = ({ access }: Pick<Route, 'access'>) => access !== 'public'
  const privatePaths = new Set([...routes, ...routers].filter(isOfUsers).map(({ path }) => path))
  const overload = createOverload({
    maxInFlight: config.MAX_IN_FLIGHT,
    maxDelayMs: config.MAX_LOOP_DELAY_MS,
    essential: essentialRoutes(routes),
  })
  addApiMetrics(metrics, {
    postgres,
    replicas,
    limits,
    overload,
    streams,
    cache: parts.cache,
    locks: parts.locks,
    redis: { state: base.redis, cache: deps.cacheRedis },
  })
  const session = createSessionMiddleware({
    sessions: parts.sessions,
    secrets: config.SESSION_SECRETS,
    cookieNames: config.SESSION_COOKIE,
    sameSite: config.COOKIE_SAME_SITE,
    onVisitor: limits.admitVisitor,
    unreadableWrites: 'go-on',
  })
  const requestHeaders = ['Idempotency-Key', ...routes.flatMap(({ headers = {} }) => Object.keys(headers))]
  const { CORS_ORIGINS: origins } = config
  const cors = origins && createCors({ origins, requestHeaders })
  const app = createApp({
    classes,
    log,
    onRequest: metrics.request,
    tracing: base.tracing,
    shed: overload.middleware,
    replicaId: config.REPLICA_ID,
    exposeReplica: config.EXPOSE_REPLICA,
    deadlineMs: config.REQUEST_TIMEOUT_MS,
    trustProxy: config.TRUST_PROXY,
    version: config.VERSION,
    appName: config.APP_NAME,
    problemBaseUrl: config.PROBLEM_BASE_URL,
    cors,
    originCheck: createOriginCheck(origins ?? []),
    sessionCookie: config.SESSION_COOKIE[0] as string,
    sessionAndLimits: createSessionAndLimits({
      session: withBearers(session),
      limiters: limits.limiters,
      settle(req, res) {
        const found = settleBearer(req, (token) => findBearer(postgres, token))
        return found ? found.then(() => limits.settle(req, res)) : limits.settle(req, res)
      },
    }),
    roles,
    hasRole: hasRole(postgres),
    once: { idempotency: parts.idempotency, postgres },
    limits: { ...basicParts.limits, log },
    routes,
    middleware: given.flatMap(([module, parts]) => module.middleware?.(parts, config) ?? []),
    routers,
    downloads,
  })
  return { app, cors, metrics, limits, overload, passwordForms }

  /** What is needed to check passwords, and to bound those who guess them. */
  function accountParts(
    passwords: Passwords,
  ): Pick<ApiParts, 'passwords' | 'limits' | 'logInGuard' | 'userSessions' | 'deviceCookies'> {
    return {
      passwords,
      limits: {
        stores: parts.rateLimits,
        share: replicas.liveApis,
        patienceMs: config.REDIS_TIMEOUT_MS / 2,
        perMinute: config.RATE_LIMIT_PER_MINUTE,
      },
      logInGuard: createLogInGuard({ redis: base.redis, prefix: base.prefixes.logIns }),
      userSessions: parts.sessions.ofUser,
      deviceCookies: (path) => createDeviceCookies({ secrets: config.SESSION_SECRETS, path }),
    }
  }
}

/** Files in flight are bounded as event streams are: in all, and for each client. */
function createDownloads(share: () => number, exempt: (req: Request) => void): Downloads {
  const places = createPlaces({ ...downloadLimits, share, what: 'files' })
  return {
    begin(req, res) {
      places.take(addressKey(req), res)
      // While a client reads there is nothing to do, and a slow reader must not hold up others.
      exempt(req)
      // NGINX would buffer what a client does not read in files: one client could keep its disk busy for all others.
      res.setHeader('X-Accel-Buffering', 'no')
    },
  }
}
