import express from 'express'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { maxHeadBytes } from '../lifecycle/bounded-response.ts'
import { createHttpServer } from '../lifecycle/http-server.ts'
import { createServerClasses, useServerClasses } from './server-classes.ts'

const classes = createServerClasses(() => '{}')
const app = express()
useServerClasses(app, classes)
const prototypes: unknown[] = []
app.use((req, res, next) => {
  prototypes.push(Object.getPrototypeOf(req), Object.getPrototypeOf(res))
  next()
})
const large = 'x'.repeat(maxHeadBytes)
const inner = express()
inner.get('/', (_req, res) => void res.set('X-Large', large).json({}))
app.use('/inner', inner)
app.get('/large', (_req, res) => void res.set('X-Large', large).json({}))
app.get('/', (req, res) => void res.json({ ip: req.ip, app: res.app === app }))

const server = createHttpServer(
  (req, res) => {
    prototypes.push(Object.getPrototypeOf(req), Object.getPrototypeOf(res))
    app(req, res)
  },
  { host: '127.0.0.1', port: 0, classes },
)
beforeAll(() => server.start())
afterAll(() => server.stop({ refuseMs: 0, deadlineMs: 0 }))
const get = (path: string) => fetch(`http://127.0.0.1:${server.port()}${path}`)

it('Express changes no prototype, and what it adds is there', async () => {
  expect(await (await get('/')).json()).toEqual({ ip: '127.0.0.1', app: true })
  const own = [classes.IncomingMessage.prototype, classes.ServerResponse.prototype]
  expect(prototypes).toEqual([...own, ...own])
})

it.each(['/large', '/inner'])('%s: the bound on heads holds for what Express answers', async (path) => {
  expect((await get(path)).status).toBe(500)
})
