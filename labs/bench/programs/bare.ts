import express from 'express'
import pg from 'pg'
// sample
import { addShop } from '../sample/bare-shop.ts'
// /sample
import { createPipeline } from './pipeline.ts'

// What Express and Postgres cost by themselves: the same rows by named statements of the same kind, and nothing else.
const { PORT, DATABASE_URL, USER_ID = '', PIPELINE } = process.env
const pool = new pg.Pool({ connectionString: DATABASE_URL, max: 10 })
const reads = PIPELINE ? await createPipeline({ connectionString: DATABASE_URL, connections: 2 }) : pool
const user = { name: 'users.byId', text: 'SELECT id, email, name FROM users WHERE id = $1' }
const app = express()
app.disable('x-powered-by')
app.disable('etag')
app.get('/hello', (_req, res) => void res.send('hello'))
app.get('/v1/session', async (_req, res) => {
  const { rows } = await reads.query({ ...user, values: [USER_ID] })
  res.json({ user: rows[0] })
})
// sample
addShop(app, pool, USER_ID)
// /sample
app.listen(Number(PORT), '127.0.0.1')
