import { kitErrors } from '@escala/kit/errors/errors'
import { type Route, route } from '@escala/kit/http/route'
import type { ApiParts } from '@escala/kit/module'
import { bearerOf } from '@escala/kit/sessions/bearer'
import { sessionUser } from '@escala/kit/sessions/express-session'
import { beginSession, hasStoredSession, sessionOrigin } from '@escala/kit/sessions/request-session'
import type { Request } from 'express'
import { type Cart, openCarts } from '../carts.ts'
import { ticketErrors } from '../errors.ts'
import { cart, cartInput, cartParams } from '../schemas.ts'
import type { ShowReader } from '../show-reader.ts'
import { requireUser } from '../users.ts'

type Parts = Pick<ApiParts, 'sessionState' | 'postgres'> & { shows: Pick<ShowReader, 'exists'> }

/** Also for visitors who are not logged in: logging in keeps the cart. It promises nothing; the order decides. */
export function cartRoutes({ sessionState, postgres, shows }: Parts): Route[] {
  const carts = openCarts(sessionState)
  return [
    route({
      method: 'get',
      path: '/v1/cart',
      summary: "The session's cart",
      access: 'public',
      responses: { 200: { description: 'The cart', schema: cart } },
      errors: ['E_NOT_LOGGED_IN'],
      async handle({ req }) {
        if (bearerOf(req) !== undefined) throw kitErrors.E_SCOPE() // a token has no cart
        if (!hasStoredSession(req)) return { status: 200, body: toCart(new Map()) }
        const [found] = await Promise.all([carts.get(sessionOrigin(req), use(req)), requireUser(postgres, req)])
        return { status: 200, body: toCart(found) }
      },
    }),
    route({
      method: 'put',
      path: '/v1/cart/items/:showId',
      summary: 'Put tickets for a show into the cart; 0 takes them out',
      access: 'public',
      params: cartParams,
      body: cartInput,
      responses: { 200: { description: 'The whole cart', schema: cart } },
      errors: ['E_CART_FULL', 'E_NOT_FOUND', 'E_NOT_LOGGED_IN', 'E_RATE_LIMITED', 'E_SESSION_ENDED'],
      async handle({ params, body, req }) {
        // What is no longer there can still be taken out.
        if (body.quantity > 0 && !(await shows.exists(params.showId))) throw kitErrors.E_NOT_FOUND()
        await beginSession(req) // with the first thing to remember; only then is there a cookie
        const put = carts.put(sessionOrigin(req), params.showId, body.quantity, use(req))
        const [changed] = await Promise.all([put, requireUser(postgres, req)])
        if (changed === undefined) throw ticketErrors.E_CART_FULL()
        return { status: 200, body: toCart(changed) }
      },
    }),
  ]
}

const use = (req: Request) => ({ isVisitor: sessionUser(req) === undefined })

function toCart(items: Cart) {
  return { items: [...items].map(([showId, quantity]) => ({ showId, quantity })) }
}
