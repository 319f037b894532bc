import { kitErrors } from '@escala/kit/errors/errors'
import { type Route, route } from '@escala/kit/http/route'
import { fingerprint, parseKey } from '@escala/kit/idempotency/request'
import type { ApiParts } from '@escala/kit/module'
import { violates } from '@escala/kit/postgres/postgres'
import { endSession } from '@escala/kit/sessions/log-in'
import { v7 } from 'uuid'
import { ticketFlags } from '../flags.ts'
import { announceAvailability } from '../live.ts'
import { createOrderDesk } from '../order-desk.ts'
import { cancel, listOrders, type NewOrder, readOrder } from '../orders.ts'
import { idParams, order, orderInput, pageOf, pageQuery, placedOrder } from '../schemas.ts'
import { requireUser, requireVerifiedEmail } from '../users.ts'

type Parts = Pick<ApiParts, 'postgres' | 'idempotency' | 'outbox' | 'events' | 'flags'>

interface Rules extends Pick<NewOrder, 'holdMs' | 'maxPerBuyer'> {
  /** Whether a buyer must have verified the e-mail address. */
  needsVerifiedEmail?: boolean
}

export function orderRoutes(
  { postgres, idempotency, outbox, events, flags }: Parts,
  { needsVerifiedEmail = false, ...rules }: Rules,
): Route[] {
  const desk = createOrderDesk({ postgres, idempotency, outbox, events })
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
      headers: { 'Idempotency-Key': 'One for each order that is meant; the same again when the response was lost' },
      responses: { 201: { description: 'The tickets are held, and the charge follows', schema: placedOrder } },
      errors: [
        'E_NOT_FOUND',
        'E_SOLD_OUT',
        'E_SALES_CLOSED',
        'E_TICKET_LIMIT',
        'E_EMAIL_NOT_VERIFIED',
        'E_IDEMPOTENCY_KEY_MISSING',
        'E_IDEMPOTENCY_IN_PROGRESS',
        'E_IDEMPOTENCY_MISMATCH',
      ],
      async handle({ params, body, user, requestId, traceparent, req, log }) {
        const key = parseKey(req.headers['idempotency-key'])
        if (needsVerifiedEmail) await requireVerifiedEmail(postgres, user.id)
        // Fingerprint the raw body: schema output may change between versions.
        const path = `/v1/shows/${params.id}/orders`
        const request = { owner: user.id, key, fingerprint: fingerprint('POST', path, req.body) }
        const wanted = {
          id: v7(), // in the app: Postgres knows UUIDv7 from 18 on
          userId: user.id,
          showId: params.id,
          quantity: body.quantity,
          ...rules,
          requestId,
          traceparent,
        }
        const outcome = await desk
          .place({ request, order: wanted, log, isOpen, deadline: req.deadline })
          .catch(async (error) => {
            throw violates(error, 'orders_user_id_fkey') ? await endSession(req) : error
          })
        if (!outcome.replayed) log.info({ orderId: wanted.id }, 'order placed')
        const { response, replayed } = outcome
        return { ...response, ...(replayed && { stored: true, headers: { 'Idempotency-Replayed': 'true' } }) }
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
