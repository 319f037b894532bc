import { createSessionMiddleware } from '@escala/kit/sessions/middleware'
import { createRedisSessions } from '@escala/kit/sessions/redis'
import express from 'express'
import type { Redis } from 'ioredis'
import type { Parts } from '../../apps/api/src/parts.ts'
import { withSlowRoute } from './slow-route.ts'

declare module 'express-session' {
  interface SessionData {
    cart?: Record<string, number>
  }
}

/** Shared sessions with the cart in them: what most people do first, and what works on one replica that is not busy. */
export const apiParts: Partial<Parts> = {
  sessions: ({ redis }) => createPlainSessions(redis),
  listener(app, { redis, config }) {
    const sessions = createPlainSessions(redis)
    const shop = express()
    shop.use(createSessionMiddleware({ sessions, secrets: config.SESSION_SECRETS }), express.json())
    shop.get('/v1/cart', (req, res) => void res.json(toCart(req.session.cart)))
    shop.put('/v1/cart/items/:showId', (req, res) => {
      req.session.cart ??= {}
      req.session.cart[req.params.showId] = req.body.quantity
      res.json(toCart(req.session.cart)) // express-session saves the whole session while this is sent
    })
    const rest = withSlowRoute(app, sessions, config.SESSION_SECRETS)
    return (req, res) => (req.url?.startsWith('/v1/cart') ? shop(req, res) : rest(req, res))
  },
}

/** As connect-redis by itself: an id is free again as soon as its session is deleted. */
const createPlainSessions = (redis: Redis) => createRedisSessions({ redis, barredMs: 1 })

function toCart(cart: Record<string, number> = {}) {
  return { items: Object.entries(cart).map(([showId, quantity]) => ({ showId, quantity })) }
}
