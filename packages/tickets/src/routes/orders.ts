import { kitErrors } from '@escala/kit/errors/errors'
import { pageOf, pageQuery } from '@escala/kit/http/cursor'
import { type Route, route } from '@escala/kit/http/route'
import type { ApiParts } from '@escala/kit/module'
import { violates } from '@escala/kit/postgres/postgres'
import { endSession } from '@escala/kit/sessions/log-in'
import { v7 } from 'uuid'
import { ticketFlags } from '../flags.ts'
import { announceAvailability } from '../live.ts'
import { createOrderDesk } from '../order-desk.ts'
import { cancel, listOrders, type NewOrder, readOrder } from '../orders.ts'
import { idParams, order, orderInput, placedOrder } from '../schemas.ts'
import { requireUser, requireVerifiedEmail } from '../users.ts'

type Parts = Pick<ApiParts, 'postgres' | 'idempotency' | 'outbox' | 'events' | 'flags' | 'metrics'>

interface Rules extends Pick<NewOrder, 'holdMs' | 'maxPerBuyer'> {
  /** Whether a buyer must have verified the e-mail address. */
  needsVerifiedEmail?: boolean
}

export function orderRoutes(
  { postgres, idempotency, outbox, events, flags, metrics }: Parts,
  { needsVerifiedEmail = false, ...rules }: Rules,
): Route[] {
  const desk = createOrderDesk({ postgres, idempotency, outbox, events })
  const counted = metrics.counter({
    name: 'orders_total',
    help: 'Orders that were placed, and requests that got the response of an earlier one.',
    labels: { outcome: ['placed', 'replayed'] },
  })
  const isOpen = () => flags.get(ticketFlags.salesOpen)
  return [
    route({
      method: 'post',
      path: '/v1/shows/:id/orders',
      summary: 'Order tickets',
      access: 'user',
      scopes: ['orders:write'],
      params: idParams,
      body: orderInput,
      idempotent: true,
      responses: { 201: { description: 'The tickets are held, and the charge follows', schema: placedOrder } },
      errors: ['E_NOT_FOUND', 'E_SOLD_OUT', 'E_SALES_CLOSED', 'E_TICKET_LIMIT', 'E_EMAIL_NOT_VERIFIED'],
      async handle({ params, body, user, once, requestId, traceparent, req, log }) {
        if (needsVerifiedEmail) await requireVerifiedEmail(postgres, user.id)
        const wanted = {
          id: v7(), // in the app: Postgres knows UUIDv7 from 18 on
          userId: user.id,
          showId: params.id,
          quantity: body.quantity,
          ...rules,
          requestId,
          traceparent,
        }
        const placed = await once
          .with((request) => desk.place({ request, order: wanted, log, isOpen, deadline: req.deadline }))
          .catch(async (error) => {
            throw violates(error, 'orders_user_id_fkey') ? await endSession(req) : error
          })
        counted.inc({ outcome: placed.stored ? 'replayed' : 'placed' })
        if (!placed.stored) log.info({ orderId: wanted.id }, 'order placed')
        return placed
      },
    }),
    route({
      method: 'get',
      path: '/v1/orders',
      summary: "The user's orders, newest first",
      access: 'user',
      scopes: ['orders:read'],
      query: pageQuery,
      responses: { 200: { description: 'One page of orders', schema: pageOf(order) } },
      async handle({ query, user, req }) {
        const page = await listOrders(postgres, user.id, query)
        if (page.items.length === 0) await requireUser(postgres, req)
        return { status: 200, body: page }
      },
    }),
    route({
      method: 'get',
      path: '/v1/orders/:id',
      summary: "One of the user's orders",
      access: 'user',
      scopes: ['orders:read'],
      essential: true,
      params: idParams,
      responses: { 200: { description: 'The order', schema: order } },
      errors: ['E_NOT_FOUND'],
      async handle({ params, user }) {
        const found = await readOrder(postgres, params.id, user.id)
        if (found === undefined) throw kitErrors.E_NOT_FOUND()
        return { status: 200, body: found }
      },
    }),
    route({
      method: 'delete',
      path: '/v1/orders/:id',
      summary: 'Cancel an order: the tickets are released at once, and the provider refunds the money',
      access: 'user',
      scopes: ['orders:write'],
      essential: true,
      params: idParams,
      responses: { 200: { description: 'The order as it is now', schema: order } },
      errors: ['E_NOT_FOUND', 'E_ORDER_BUSY'],
      async handle({ params, user, traceparent, log }) {
        const { order, availability } = await cancel(postgres, outbox, params.id, user.id, traceparent)
        if (availability) await announceAvailability(events, log, order.showId, availability)
        return { status: 200, body: order }
      },
    }),
  ]
}
