import type { Scope } from '../scope.ts'

/** Item id → quantity. */
export type Cart = Record<string, number>

/**
 * What changes often and belongs to a session, kept beside it. `key` is `sessionOrigin(req)`, which log-in does not change.
 * Each write changes one item by itself, so that parallel writes on several replicas lose nothing.
 */
export interface Carts {
  scope: Scope
  get(key: string): Promise<Cart>
  /** 0 removes the item. Answers with the whole cart, or with `undefined` when it has `maxItems` others already. */
  put(key: string, item: string, quantity: number): Promise<Cart | undefined>
  clear(key: string): Promise<void>
}

export interface CartOptions {
  /** A cart that is not written to for this long is gone. Default: one day, as a session's idle time. */
  idleMs?: number
  /** Default: 50. */
  maxItems?: number
}

export const cartDefaults = { idleMs: 24 * 3_600_000, maxItems: 50 }
