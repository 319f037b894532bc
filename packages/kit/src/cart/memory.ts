import { LRUCache } from 'lru-cache'
import { type Cart, type CartOptions, type Carts, cartDefaults } from './cart.ts'

/** Carts in this process alone; the 10,000 that were used last. */
export function createMemoryCarts(options: CartOptions = {}): Carts {
  const { idleMs, visitorIdleMs, maxItems } = { ...cartDefaults, ...options }
  const carts = new LRUCache<string, Cart>({ max: 10_000, ttl: idleMs })
  return {
    scope: 'process',
    async get(key, { isVisitor = false } = {}) {
      const cart = carts.get(key)
      if (cart) carts.set(key, cart, { ttl: isVisitor ? visitorIdleMs : idleMs })
      return { ...cart }
    },
    async put(key, item, quantity, { isVisitor = false } = {}) {
      const cart = { ...carts.get(key) }
      if (quantity === 0) delete cart[item]
      else cart[item] = quantity
      if (Object.keys(cart).length > maxItems) return undefined
      carts.set(key, cart, { ttl: isVisitor ? visitorIdleMs : idleMs })
      return { ...cart }
    },
    async clear(key) {
      carts.delete(key)
    },
  }
}
