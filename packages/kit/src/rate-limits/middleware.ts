import { createHash } from 'node:crypto'
import type { Request, RequestHandler, Response } from 'express'
import { ipKeyGenerator, type Options, type Store } from 'express-rate-limit'
import { LRUCache } from 'lru-cache'
import { kitErrors } from '../errors/errors.ts'
import type { Logger } from '../log/log.ts'
import { withLocalShare } from './local-share.ts'
import type { RateLimitPolicy, RateLimitStores } from './rate-limits.ts'

interface CommonOptions {
  policy: RateLimitPolicy
  stores: RateLimitStores
  /** Whose budget a request uses. */
  key: (req: Request) => string
  log: Logger
}

/**
 * When the store cannot be asked: `local-share` lets this process allow its share of the limit (`share` live replicas), and
 * waits for the store no longer than `patienceMs`;
 * `refuse` answers 503 `E_REDIS_UNAVAILABLE`, for limits that guard passwords.
 */
export type RateLimitOptions = CommonOptions &
  ({ onStoreError: 'local-share'; share: () => number; patienceMs?: number } | { onStoreError: 'refuse' })

export interface RateLimit {
  /** Hands 429 `E_RATE_LIMITED` to `next`. Answers carry `RateLimit` and `RateLimit-Policy`, as in the IETF's draft 8. */
  middleware: RequestHandler
  /** The same within a handler: resolves when the request may go on, rejects with the error. `key` replaces the policy's own. */
  check(req: Request, res: Response, key?: string): Promise<void>
  /** Stops counting a request that `check` has let through. */
  giveBack(req: Request): Promise<void>
  /** The key that the request was counted by last; `undefined` if it was not. */
  countedBy(req: Request): string | undefined
  /** Whether this process counts by itself at the moment. */
  degraded(): boolean
}

export function createRateLimit(options: RateLimitOptions): RateLimit {
  const { policy, key: keyOf } = options
  const { store, degraded } = createStore(options)
  const writeHeaders = createHeaders(policy)
  const counted = Symbol(policy.name) // one for each policy: a request may pass several
  const countedBy = (req: Request) => (req as Request & { [counted]?: string })[counted]
  const check = async (req: Request, res: Response, key = keyOf(req)) => {
    const { totalHits, resetTime } = await store.increment(key)
    Object.assign(req, { [counted]: key })
    const resetMs = Math.max(0, (resetTime?.getTime() ?? 0) - Date.now())
    if (!res.headersSent) writeHeaders(res, key, Math.max(0, policy.limit - totalHits), resetMs)
    if (totalHits > policy.limit) throw kitErrors.E_RATE_LIMITED({ retryAfterMs: Math.max(1000, resetMs) })
  }
  return {
    middleware: (req, res, next) =>
      void check(req, res)
        .then(() => next(), next)
        .catch(next),
    check,
    async giveBack(req) {
      const key = countedBy(req)
      if (key !== undefined) await store.decrement(key)
    },
    countedBy,
    degraded,
  }
}

/** Returns a client's address; of an IPv6 address the first 64 bits, since every client of such a network can choose the rest. */
export function addressKey(req: Request): string {
  return ipKeyGenerator(req.ip ?? '', 64)
}

function createStore(options: RateLimitOptions): { store: Store; degraded(): boolean } {
  const { policy, log } = options
  const store = options.stores.create(policy)
  void store.init?.({ windowMs: policy.windowMs } as Options)
  if (options.onStoreError === 'local-share') {
    return withLocalShare(store, {
      policy,
      share: options.share,
      patienceMs: options.patienceMs,
      onDegraded: (err) => log.warn({ err, policy: policy.name }, 'rate limit counts in this process only'),
      onRecovered: () => log.info({ policy: policy.name }, 'rate limit is shared again'),
    })
  }
  const increment = store.increment.bind(store)
  store.increment = async (key) => {
    try {
      return await increment(key)
    } catch (cause) {
      throw kitErrors.E_REDIS_UNAVAILABLE({ cause, retryAfterMs: 1000 })
    }
  }
  return { store, degraded: () => false }
}

function createHeaders({ name, limit, windowMs }: RateLimitPolicy) {
  const policies = new LRUCache<string, string>({ max: 5000 })
  const policyOf = (key: string) => {
    const known = policies.get(key)
    if (known !== undefined) return known
    const partition = Buffer.from(createHash('sha256').update(key).digest('hex').slice(0, 12)).toString('base64')
    const policy = `"${name}"; q=${limit}; w=${Math.ceil(windowMs / 1000)}; pk=:${partition}:`
    policies.set(key, policy)
    return policy
  }
  return (res: Response, key: string, remaining: number, resetMs: number) => {
    setItem(res, 'RateLimit', name, `"${name}"; r=${remaining}; t=${Math.ceil(resetMs / 1000)}`)
    setItem(res, 'RateLimit-Policy', name, policyOf(key))
  }
}

/** Sets the header's item of one policy, and leaves those of other policies. */
function setItem(res: Response, header: string, name: string, item: string): void {
  const before = res.getHeader(header)
  if (typeof before !== 'string') return void res.setHeader(header, item)
  const others = before.split(', ').filter((other) => !other.startsWith(`"${name}";`))
  res.setHeader(header, [...others, item].join(', '))
}
