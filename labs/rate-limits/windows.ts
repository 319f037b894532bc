import type { RateLimitStores } from '@escala/kit/rate-limits/rate-limits'

/** Short enough to wait for its end. */
export const shortWindowMs = 2000

/** The same stores, with windows of `shortWindowMs` in the place of a minute. */
export function withShortWindows(stores: RateLimitStores): RateLimitStores {
  return {
    scope: stores.scope,
    create(policy) {
      const store = stores.create({ ...policy, windowMs: shortWindowMs })
      const { init } = store
      store.init = (options) => init?.call(store, { ...options, windowMs: shortWindowMs })
      return store
    },
  }
}
