import express from 'express'
import pg from 'pg'

// What Express and Postgres cost by themselves: the same row by the same named statement, and an answer of nothing.
const { PORT, DATABASE_URL, USER_ID } = process.env
const pool = new pg.Pool({ connectionString: DATABASE_URL, max: 10 })
const statement = { name: 'users.byId', text: 'SELECT id, email, name FROM users WHERE id = $1' }
const app = express()
app.disable('x-powered-by')
app.disable('etag')
app.get('/v1/session', async (_req, res) => {
  const { rows } = await pool.query({ ...statement, values: [USER_ID] })
  res.json({ user: rows[0] })
})
app.get('/hello', (_req, res) => void res.send('hello'))
app.listen(Number(PORT), '127.0.0.1')
