import type { Request, Response } from 'express'
import type { z } from 'zod'
import type { Breakers } from './breaker/breaker.ts'
import type { Cache } from './cache/cache.ts'
import type { Config } from './config/config.ts'
import type { AppError } from './errors/app-error.ts'
import { bootErrors } from './errors/errors.ts'
import type { EventPublisher, Events } from './events/events.ts'
import type { Streams } from './events/follow.ts'
import type { Flag, Flags } from './flags/flags.ts'
import type { Route } from './http/route.ts'
import type { ModuleMiddleware, ModuleRouter } from './http/routers.ts'
import type { Idempotency } from './idempotency/idempotency.ts'
import type { DeadAggregates, JobHandler, Schedule } from './jobs/jobs.ts'
import type { Locks } from './locks/locks.ts'
import type { Logger } from './log/log.ts'
import type { Mailer } from './mail/mail.ts'
import type { ModuleMetrics } from './metrics/module-metrics.ts'
import type { Outbox } from './outbox/outbox.ts'
import type { Passwords } from './passwords/passwords.ts'
import type { Postgres, Sql } from './postgres/postgres.ts'
import type { LogInGuard } from './rate-limits/log-in-guard.ts'
import type { RateLimitStores } from './rate-limits/rate-limits.ts'
import type { SessionState } from './session-state/session-state.ts'
import type { DeviceCookies } from './sessions/device.ts'
import type { UserSessions } from './sessions/user-sessions.ts'
import type { Tracing } from './tracing/tracing.ts'
import type { Uploads } from './uploads/uploads.ts'

type Settings = Record<string, z.ZodType>

export interface Downloads {
  /**
   * Takes a place for a file until the response is closed. Comes before the file is read: throws `E_OVERLOADED` or
   * `E_TOO_MANY_CONNECTIONS`. NGINX passes the file on as the client reads it, and the request is not in flight any more.
   */
  begin(req: Request, res: Response): void
}

/** What `createRateLimit` takes for a limit that every replica shares. */
export interface LimitParts {
  stores: RateLimitStores
  /** Live replicas, as last known. */
  share(): number
  /** Longest wait for Redis, where a replica may count by itself instead. */
  patienceMs: number
  /** Requests a minute of one client: a limit of a module can be a part of it. */
  perMinute: number
}

/** What a module stores about users: its part of an export, and of the deletion of an account. */
export interface PersonalData {
  /**
   * Returns what the module stores about the user as JSON, for the user to read. Bound it, and say in it what was left out.
   */
  export(sql: Sql, userId: string): Promise<unknown>
  /**
   * Deletes what the module stores about the user, or what of it is personal, in the transaction that deletes the user; the user's row is
   * locked. Throws to refuse the deletion, which then has no effect at all. May run more than once, so it must have no effect outside of
   * `tx`. Records of `sessionState` and idempotency keys are deleted without it.
   */
  erase(tx: Sql, userId: string): Promise<void>
  /** The codes that `erase` refuses with. */
  errors?: string[]
}

/** What the API gives to a domain: interfaces, whose adapters only `compose` knows. */
export interface ApiParts {
  postgres: Postgres
  idempotency: Idempotency
  outbox: Outbox
  locks: Locks
  /** For what changes often and belongs to a session; by `sessionOrigin(req)`. */
  sessionState: SessionState
  cache: Cache
  events: Events
  /** For routes that stream events: they end when this replica drains. */
  streams: Streams
  uploads: Uploads
  /** For routes that respond with files. */
  downloads: Downloads
  /** Every flag that is in some module's `flags`. */
  flags: Flags
  passwords: Passwords
  /** For rate limits of the module's own; each needs a policy name that no other has. */
  limits: LimitParts
  /** Of this module alone: declare them before the first request. */
  metrics: ModuleMetrics
  logInGuard: LogInGuard
  userSessions: UserSessions
  /** What every module stores about users, by the module's name. */
  personalData: Record<string, PersonalData>
  /** Every scope that some route names. */
  scopes(): string[]
  /** Creates the cookies of known devices; only requests to `path` carry them. */
  deviceCookies(path: string): DeviceCookies
  log: Logger
}

/** What there is before the modules are asked what they store about users. */
export type BasicApiParts = Omit<ApiParts, 'personalData' | 'metrics'>

/** What the worker gives to a domain. */
export interface WorkerParts {
  postgres: Postgres
  outbox: Outbox
  locks: Locks
  events: EventPublisher
  /** For calls to systems outside. */
  breakers: Breakers
  mailer: Mailer
  /** For code that repeats lost work: dead letters wait for an operator. */
  deadLetters: DeadAggregates
  /** The same; a job's spans are there without it. */
  tracing: Tracing
  /** Of this module alone: declare them before the first job. */
  metrics: ModuleMetrics
  log: Logger
  /** Registers what closes when the worker stops, after its last job has ended. It must not wait. */
  onStop(close: () => void): void
}

/** A domain's half in the API. `settings` are variables of the environment, read with the API's own; a name that is taken is refused. */
export interface ApiModule<S extends Settings = Settings> {
  name: string
  settings: S
  flags?: Flag[]
  /** Roles that its routes ask for. Operators give them to users. Modules that declare the same name share the role. */
  roles?: string[]
  /** Declare it if the module stores anything about users. */
  personalData?(parts: BasicApiParts, settings: Config<S>): PersonalData
  routes(parts: ApiParts, settings: Config<S>): Route[]
  /** Express handlers for every request, also those of other modules, in the order of the modules. */
  middleware?(parts: ApiParts, settings: Config<S>): ModuleMiddleware
  /** Express routers of its own, each below a path that nothing else uses. */
  routers?(parts: ApiParts, settings: Config<S>): ModuleRouter[]
}

/** A domain's half in the worker. */
export interface WorkerModule<S extends Settings = Settings> {
  name: string
  settings: S
  /** What the database must have before its jobs may run: the folder of `DataModule`. */
  migrations: URL
  /** As in `DataModule`. */
  formerly?: Record<string, string>
  jobs(parts: WorkerParts, settings: Config<S>): Record<string, JobHandler>
  schedules: Schedule[]
  /** Job type → lane: its jobs wait for no job of another lane. Types that are not listed share one. */
  lanes?: Record<string, string>
}

/** A domain's tables and first rows. */
export interface DataModule {
  name: string
  /** The folder of its `NNNN_name.sql` files, run in order after the kit's. */
  migrations: URL
  /** Files that came from another folder: file without `.sql` → the name that databases know it by. */
  formerly?: Record<string, string>
  errors: Record<string, () => AppError>
  seed?(postgres: Postgres): Promise<void>
}

/** A domain as an application lists it. Each half is loaded by the processes that need it; a domain may lack one. */
export interface Module {
  data?(): Promise<DataModule>
  api?(): Promise<ApiModule>
  worker?(): Promise<WorkerModule>
}

interface Halves {
  data: DataModule
  api: ApiModule
  worker: WorkerModule
}

/** Loads one half of each module, in the order of the list. */
export async function loadHalves<H extends keyof Halves>(modules: Module[], half: H): Promise<Halves[H][]> {
  const loaded = await Promise.all(modules.map((module) => module[half]?.()))
  return loaded.filter((one) => one !== undefined) as Halves[H][]
}

/**
 * A process's own settings and those of its modules. Throws `E_MODULE` when a name is declared twice: one rule would silently
 * replace the other, and a module could change what `TRUST_PROXY` means.
 */
export function collectSettings<S extends Settings>(own: S, modules: { name: string; settings: Settings }[]): S {
  const settings: Settings = { ...own }
  const problems: string[] = []
  for (const module of modules) {
    for (const [name, rule] of Object.entries(module.settings)) {
      if (Object.hasOwn(settings, name)) problems.push(`the module ${module.name} declares ${name}, which is taken`)
      else settings[name] = rule
    }
  }
  if (problems.length > 0) throw bootErrors.E_MODULE({ detail: problems.join('\n  ') })
  return settings as S
}

/** Merges what several modules declare by name. Throws `E_MODULE` when two declare the same: one would silently replace the other. */
export function mergeOnce<T>(what: string, lists: Record<string, T>[]): Record<string, T> {
  const merged: Record<string, T> = {}
  for (const [name, one] of lists.flatMap((list) => Object.entries(list))) {
    if (Object.hasOwn(merged, name)) throw bootErrors.E_MODULE({ detail: `two modules declare the ${what} ${name}` })
    merged[name] = one
  }
  return merged
}

/** What the modules store about users, by their names. Throws `E_MODULE` for two modules of one name. */
export function collectPersonalData(
  modules: ApiModule[],
  parts: BasicApiParts,
  settings: Config<Settings>,
): Record<string, PersonalData> {
  const lists = modules.map(({ name, personalData }) => (personalData ? { [name]: personalData(parts, settings) } : {}))
  return mergeOnce('personal data of', lists)
}

/** Keeps a module's settings typed while lists of modules stay plain. */
export function apiModule<S extends Settings>(module: ApiModule<S>): ApiModule {
  return module as unknown as ApiModule
}

export function workerModule<S extends Settings>(module: WorkerModule<S>): WorkerModule {
  return module as unknown as WorkerModule
}
