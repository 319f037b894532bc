import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { accountsData } from '@escala/accounts/data'
import { mountRoutes } from '@escala/kit/http/mount'
import { problemHandler } from '@escala/kit/http/problem'
import { kitMigrations, migrate, migrationsOf } from '@escala/kit/postgres/migrations'
import { createPostgres } from '@escala/kit/postgres/postgres'
import { createMemorySessionState } from '@escala/kit/session-state/memory'
import { logIn } from '@escala/kit/sessions/log-in'
import { createMemorySessions } from '@escala/kit/sessions/memory'
import { createSessionMiddleware } from '@escala/kit/sessions/middleware'
import { createTestDatabase } from '@escala/testing/test-database'
import express from 'express'
import { afterAll, beforeAll, expect, inject, test } from 'vitest'
import { cartRoutes } from './routes/cart.ts'
import { log } from './test-shop.ts'

const database = await createTestDatabase(inject('postgresUrl'))
const postgres = createPostgres({ url: database.url, log, applicationName: 'test', maxConnections: 4, timeoutMs: 5000 })
const users = { ana: randomUUID(), eve: randomUUID() }
const unknownShow = randomUUID()
const shows = { exists: async (id: string) => id !== unknownShow }
let visitors = 0
let server: Server
let url: string
beforeAll(async () => {
  await migrate({ url: database.url, folders: [kitMigrations, migrationsOf(accountsData)], log })
  for (const [name, id] of Object.entries(users)) {
    const values = [id, `${name}@example.com`, name]
    await postgres.query("INSERT INTO users (id, email, name, password_hash) VALUES ($1, $2, $3, '')", values)
  }
  const app = express()
  app.use((req, _res, next) => {
    Object.assign(req, { id: randomUUID(), log, deadline: new AbortController().signal })
    next()
  })
  app.use(
    createSessionMiddleware({
      sessions: createMemorySessions(),
      secrets: ['x'.repeat(32)],
      async onVisitor() {
        visitors++
      },
    }),
  )
  app.post('/log-in/:userId', async (req, res) => {
    await logIn(req, users[req.params.userId as keyof typeof users])
    res.status(204).end()
  })
  mountRoutes(app, cartRoutes({ postgres, sessionState: createMemorySessionState(), shows }), {
    roles: [],
    hasRole: async () => false,
  })
  app.use(problemHandler)
  server = createServer(app).listen(0, '127.0.0.1')
  await once(server, 'listening')
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
})
afterAll(async () => {
  server.closeAllConnections()
  server.close()
  await postgres.stop()
  await database.drop()
})

function visitor() {
  let cookie = ''
  return async (method: string, path: string, body?: unknown, copied?: string) => {
    const headers = { cookie: copied ?? cookie, 'content-type': 'application/json' }
    const response = await fetch(`${url}${path}`, { method, headers, body: body ? JSON.stringify(body) : undefined })
    const set = response.headers.get('set-cookie')
    if (set !== null) cookie = set.split(';')[0] as string
    const text = await response.text()
    return { status: response.status, set, cookie, body: text === '' ? undefined : JSON.parse(text) }
  }
}

const put = (send: ReturnType<typeof visitor>, showId: string, quantity: number) =>
  send('PUT', `/v1/cart/items/${showId}`, { quantity })

test('a visitor has a cart from the first item on, and keeps it when logging in', async () => {
  const send = visitor()
  const [gig, play] = [randomUUID(), randomUUID()]
  expect(await send('GET', '/v1/cart')).toMatchObject({ status: 200, set: null, body: { items: [] } })
  expect((await put(send, gig, 2)).body).toEqual({ items: [{ showId: gig, quantity: 2 }] })
  await send('POST', '/log-in/ana')
  await put(send, play, 1)
  expect((await send('GET', '/v1/cart')).body.items).toEqual([
    { showId: gig, quantity: 2 },
    { showId: play, quantity: 1 },
  ])
  expect((await put(send, gig, 0)).body).toEqual({ items: [{ showId: play, quantity: 1 }] })
  expect((await visitor()('GET', '/v1/cart')).body).toEqual({ items: [] })
})

test('a cookie from before the log-in has no cart, and cannot change the one that went along', async () => {
  const send = visitor()
  const gig = randomUUID()
  const { cookie: old } = await put(send, gig, 2)
  await send('POST', '/log-in/ana')
  expect(await send('GET', '/v1/cart', undefined, old)).toMatchObject({ status: 200, set: null, body: { items: [] } })
  expect(await send('PUT', `/v1/cart/items/${gig}`, { quantity: 9 }, old)).toMatchObject({
    status: 409,
    set: null,
    body: { code: 'E_SESSION_ENDED' },
  })
  const attacker = visitor()
  await attacker('POST', '/log-in/eve', undefined, old)
  await put(attacker, randomUUID(), 1)
  expect((await attacker('GET', '/v1/cart')).body.items).toHaveLength(1)
  expect((await send('GET', '/v1/cart')).body.items).toEqual([{ showId: gig, quantity: 2 }])
})

test('the session of a deleted user ends with its next request', async () => {
  const send = visitor()
  const gig = randomUUID()
  await put(send, gig, 2)
  await send('POST', '/log-in/ana')
  const { cookie } = await put(send, gig, 1)
  const elsewhere = visitor()
  await elsewhere('POST', '/log-in/ana')
  await postgres.query('DELETE FROM users WHERE id = $1', [users.ana])
  expect(await send('GET', '/v1/cart')).toMatchObject({ status: 401, body: { code: 'E_NOT_LOGGED_IN' } })
  expect(await put(elsewhere, gig, 1)).toMatchObject({ status: 401 })
  expect((await send('GET', '/v1/cart', undefined, cookie)).body).toEqual({ items: [] })
  expect((await put(visitor(), gig, 1)).status).toBe(200)
})

test('a show that is not there: 404, no session, no cart; taken out it can be', async () => {
  const send = visitor()
  const before = visitors
  expect(await put(send, unknownShow, 1)).toMatchObject({ status: 404, set: null })
  expect(visitors).toBe(before)
  await put(send, randomUUID(), 1)
  await put(send, randomUUID(), 1)
  expect(visitors).toBe(before + 1) // once for each session
  expect((await put(send, unknownShow, 0)).status).toBe(200)
})

test('a full cart takes no other show', async () => {
  const send = visitor()
  const shows = Array.from({ length: 50 }, () => randomUUID())
  for (const show of shows) await put(send, show, 1)
  expect(await put(send, randomUUID(), 1)).toMatchObject({ status: 409, body: { code: 'E_CART_FULL' } })
  expect(await put(send, shows[0] as string, 5)).toMatchObject({ status: 200 })
})

test.each([{ quantity: -1 }, { quantity: 101 }, { quantity: 1, x: 1 }])('%o is refused', async (body) => {
  expect(await visitor()('PUT', `/v1/cart/items/${randomUUID()}`, body)).toMatchObject({ status: 400 })
  expect(await visitor()('PUT', '/v1/cart/items/x', { quantity: 1 })).toMatchObject({ status: 400 })
})
