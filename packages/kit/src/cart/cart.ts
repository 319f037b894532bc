import type { Scope } from '../scope.ts'

/** Item id → quantity. */
export type Cart = Record<string, number>

/**
 * What changes often and belongs to a session, kept beside it. `key` is `sessionOrigin(req)`, which log-in does not change.
 * Each write changes one item by itself, so that parallel writes on several replicas lose nothing.
 */
export interface Carts {
  scope: Scope
  /** Returns the cart, and renews its life. */
  get(key: string, options?: CartUse): Promise<Cart>
  /**
   * Sets the quantity of an item, and renews the cart's life; 0 removes the item. Returns the whole cart, or `undefined` when it
   * has `maxItems` others already.
   */
  put(key: string, item: string, quantity: number, options?: CartUse): Promise<Cart | undefined>
  clear(key: string): Promise<void>
}

export interface CartUse {
  /** The user is not logged in: the cart lives for `visitorIdleMs`. */
  isVisitor?: boolean
}

export interface CartOptions {
  /** A cart that is not used for this long is gone. Default: one day, as a session's idle time. */
  idleMs?: number
  /** The same for a visitor who is not logged in, since anyone can create such carts. Default: one hour, as for a visitor's session. */
  visitorIdleMs?: number
  /** Default: 50. */
  maxItems?: number
}

export const cartDefaults = { idleMs: 24 * 3_600_000, visitorIdleMs: 3_600_000, maxItems: 50 }
