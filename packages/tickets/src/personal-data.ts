import type { PersonalData } from '@escala/kit/module'
import type { Statement } from '@escala/kit/postgres/postgres'
import { ticketErrors } from './errors.ts'
import { listOrders } from './orders.ts'

/** Orders in one export, the newest; `GET /v1/orders` has every one. */
const maxExported = 10_000

// No money moves for an order without a user: a hold ends now, and the sweep gives its tickets back. Each row is locked and then read, so
// a charge that begins at this moment is seen, or comes too late.
const leave: Statement = {
  name: 'tickets-orders-without-user',
  text: `WITH left_behind AS (
      UPDATE orders SET user_id = NULL, hold_until = CASE status WHEN 'pending' THEN least(hold_until, now()) ELSE hold_until END
      WHERE user_id = $1 RETURNING status
    )
    SELECT FROM left_behind WHERE status IN ('charging', 'refunding') LIMIT 1`,
}

/** The orders of a user. They stay when the user is deleted, for the books, and belong to no one; carts are kept beside sessions. */
export const ticketsPersonalData: PersonalData = {
  async export(sql, userId) {
    const { items, nextCursor } = await listOrders(sql, userId, { limit: maxExported })
    return { orders: items, olderOrdersLeftOut: nextCursor !== null }
  },
  async erase(tx, userId) {
    const { rowCount } = await tx.query(leave, [userId])
    if (rowCount > 0) throw ticketErrors.E_ORDER_BUSY({ retryAfterMs: 2000 })
  },
  errors: ['E_ORDER_BUSY'],
}
