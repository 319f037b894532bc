import type { SessionRecord, SessionRecordUse, SessionState } from '@escala/kit/session-state/session-state'

/** Show → tickets. */
export type Cart = Map<string, number>

/** Shows in one cart. */
const maxItems = 50

/** Carts of visitors and of users: one record beside each session, with a field per show. */
export function openCarts(state: SessionState) {
  const records = state.open('cart', { maxFields: maxItems })
  return {
    get: async (key: string, use?: SessionRecordUse): Promise<Cart> => toCart(await records.get(key, use)),
    /** Sets the tickets for a show; 0 takes them out. Returns the whole cart, or `undefined` if it already holds `maxItems` other shows. */
    async put(key: string, showId: string, quantity: number, use?: SessionRecordUse): Promise<Cart | undefined> {
      const record = await records.put(key, showId, quantity === 0 ? undefined : String(quantity), use)
      return record && toCart(record)
    },
  }
}

function toCart(record: SessionRecord): Cart {
  return new Map(Object.entries(record).map(([showId, quantity]) => [showId, Number(quantity)]))
}
