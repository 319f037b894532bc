import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import express, { type Request, type RequestHandler, type Response } from 'express'
import type { SessionData, Store } from 'express-session'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { problemHandler } from '../http/problem.ts'
import { requestContext } from '../http/request-context.ts'
import { createLog } from '../log/log.ts'
import { logIn, logOut } from './log-in.ts'
import { createSessionMiddleware } from './middleware.ts'
import { logInKey, sessionKey } from './request-cookies.ts'
import { beginSession, saveSession, sessionOrigin } from './request-session.ts'
import type { SessionStore, SessionStoreOptions } from './sessions.ts'

const log = createLog({ service: 'test', replicaId: 't', version: '0', level: 'silent' })
export const secretA = 'a'.repeat(32)
export const secretB = 'b'.repeat(32)
const stops: (() => unknown)[] = []
afterEach(async () => {
  for (const stop of stops.splice(0)) await stop()
})

interface ReplicaOptions {
  secrets?: string[]
  cookieNames?: string[]
  absoluteLifetimeMs?: number
}

/** One replica over HTTP; `slow` holds a request that began before `release()`. Resolves with its address. */
export async function serveSessions(sessions: SessionStore, options: ReplicaOptions = {}) {
  const { secrets = [secretA], absoluteLifetimeMs, cookieNames } = options
  const app = express()
  app.set('trust proxy', 1)
  app.use(requestContext({ log, replicaId: 't', exposeReplica: false, deadlineMs: 5000 }))
  app.use(createSessionMiddleware({ sessions, secrets, absoluteLifetimeMs, cookieNames }))
  const held: (() => void)[] = []
  const me: RequestHandler = (req, res) =>
    void res.json({
      userId: req.session?.userId ?? null,
      unavailable: req.sessionUnavailable === true,
      isSigned: sessionKey(req) !== undefined,
      origin: req.sessionUnavailable || req.session.ended ? null : sessionOrigin(req),
    })
  app.get('/me', me)
  app.post('/log-in/:user', async (req: Request<{ user: string }>, res) => {
    await logIn(req as unknown as Request, req.params.user)
    me(req as unknown as Request, res as Response, () => {})
  })
  app.post('/log-out', async (req, res) => {
    await logOut(req)
    res.sendStatus(204)
  })
  app.post('/visit', async (req, res) => {
    await beginSession(req)
    res.json({ origin: sessionOrigin(req), isVisitor: logInKey(req) === undefined })
  })
  app.post('/save', async (req, res) => {
    await saveSession(req)
    res.json({})
  })
  app.post('/write', (req, res) => {
    Object.assign(req.session, { note: 'saved' })
    held.push(async () => {
      await saveSession(req)
      res.json({ ok: true })
    })
  })
  app.use(problemHandler)
  const server = createServer(app).listen(0, '127.0.0.1')
  await once(server, 'listening')
  stops.push(() => {
    server.closeAllConnections()
    server.close()
  })
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  return { url, held }
}

interface Body {
  code?: string
  userId?: string | null
  unavailable?: boolean
  isSigned?: boolean
  origin?: string | null
  isVisitor?: boolean
}

/** A browser with one cookie. */
export function createBrowser() {
  let cookie = ''
  return {
    cookie: () => cookie,
    use(value: string) {
      cookie = value
    },
    async send(method: string, url: string, headers: Record<string, string> = {}) {
      const response = await fetch(url, { method, headers: { ...(cookie && { cookie }), ...headers } })
      const set = response.headers.getSetCookie()[0]
      if (set) cookie = set.split(';')[0] ?? ''
      return { status: response.status, setCookie: set, body: (await response.json().catch(() => ({}))) as Body }
    },
  }
}

const call = <T>(run: (done: (error?: unknown, value?: T) => void) => void) =>
  new Promise<T | undefined>((resolve, reject) => run((error, value) => (error ? reject(error) : resolve(value))))
const get = (store: Store, id: string) => call<SessionData | null>((done) => store.get(id, done))
const set = (store: Store, id: string, data: object) => call((done) => store.set(id, record(data), done))
const destroy = (store: Store, id: string) => call((done) => store.destroy(id, done))
const record = (data: object) => ({ cookie: { path: '/', originalMaxAge: null }, ...data }) as unknown as SessionData

/** `create` makes one cluster's sessions as two replicas see them (the same object for an adapter of one process). */
export function describeSessions(
  name: string,
  create: (options?: SessionStoreOptions) => [SessionStore, SessionStore],
): void {
  describe(name, () => {
    test('what one replica sets, the other gets, until it is destroyed', async () => {
      const [a, b] = create().map(({ store }) => store) as [Store, Store]
      await set(a, 'one', { userId: 'u1' })
      expect(await get(b, 'one')).toMatchObject({ userId: 'u1' })
      await set(b, 'one', { userId: 'u2' })
      expect(await get(a, 'one')).toMatchObject({ userId: 'u2' })
      await destroy(b, 'one')
      expect(await get(a, 'one')).toMatchObject({ ended: true })
      expect(await get(a, 'one')).not.toHaveProperty('userId')
      expect(await get(a, 'never')).toBeFalsy()
    })

    test('counts and clears all, and only its own', async () => {
      const [a, b] = create().map(({ store }) => store) as [Store, Store]
      const [other] = create()
      await set(other.store, 'foreign', { userId: 'u' })
      await Promise.all(['one', 'two', 'three'].map((id) => set(a, id, { userId: id })))
      await destroy(a, 'three')
      expect(await call((done) => b.length?.(done))).toBe(2)
      const all = await call<object>((done) => b.all?.((error, sessions) => done(error, sessions ?? {})))
      expect(Object.keys(all ?? {})).toHaveLength(2)
      await call((done) => b.clear?.(done))
      expect((await get(a, 'one'))?.userId).toBeUndefined()
      expect(await get(other.store, 'foreign')).toMatchObject({ userId: 'u' })
    })

    test('of log-ins at once with one session, those of one user get what is kept beside it', async () => {
      const [a, b] = create()
      await set(a.store, 'one', {})
      const claims = ['u1', 'u2', 'u1', 'u2'].map((user, i) => (i % 2 ? a : b).claim('one', user))
      const theirs = await Promise.all(claims)
      expect(theirs.filter(Boolean)).toHaveLength(2)
      expect(theirs[0]).toBe(theirs[2])
      expect(await get(b.store, 'one')).toMatchObject({ ended: true })
      await set(a.store, 'two', {})
      await destroy(b.store, 'two')
      expect(await a.claim('two', 'u1')).toBe(false)
      expect(await b.claim('never', 'u1')).toBe(false)
    })

    test('users who log in at once with one cookie do not share what is kept beside it', async () => {
      const [a, b] = create()
      const servers = [await serveSessions(a), await serveSessions(b)]
      for (let round = 0; round < 10; round++) {
        const visitor = createBrowser()
        await visitor.send('POST', `${servers[0]?.url}/visit`)
        const logIns = servers.map(({ url }, i) => {
          const browser = createBrowser()
          browser.use(visitor.cookie())
          return browser.send('POST', `${url}/log-in/u${i}`)
        })
        const [one, other] = await Promise.all(logIns)
        expect([one?.status, other?.status]).toEqual([200, 200])
        expect(one?.body.origin).not.toBe(other?.body.origin)
      }
    })

    test('an ended session cannot be saved again, and others can', async () => {
      const [a, b] = create().map(({ store }) => store) as [Store, Store]
      await set(a, 'one', { userId: 'u1' })
      await destroy(a, 'one')
      await set(b, 'one', { userId: 'u1' })
      expect(await get(a, 'one')).toMatchObject({ ended: true })
      await set(b, 'two', { userId: 'u1' })
      expect(await get(a, 'two')).toMatchObject({ userId: 'u1' })
    })

    test('ends when it is not used for the idle time; use renews it', async () => {
      const [{ store: a }, { store: b }] = create({ idleMs: 200 })
      await set(a, 'used', { userId: 'ana' })
      await set(a, 'idle', { userId: 'ana' })
      const began = Date.now()
      await vi.waitFor(
        async () => {
          expect(await get(b, 'used')).toBeTruthy()
          expect(Date.now() - began).toBeGreaterThan(300)
        },
        { interval: 20 },
      )
      expect(await get(b, 'idle')).toBeFalsy()
      await vi.waitFor(async () => expect(await get(b, 'used')).toBeFalsy(), { interval: 350, timeout: 2000 })
    })

    test("a visitor's ends sooner, use renews it, and a log-in makes it a user's", async () => {
      const [{ store: a }, { store: b }] = create({ visitorIdleMs: 300 })
      for (const id of ['used', 'idle', 'user']) await set(a, id, { origin: id })
      await set(b, 'user', { origin: 'user', userId: 'ana' })
      const began = Date.now()
      await vi.waitFor(
        async () => {
          expect(await get(b, 'used')).toBeTruthy()
          expect(Date.now() - began).toBeGreaterThan(400)
        },
        { interval: 20, timeout: 3000 },
      )
      expect(await get(b, 'idle')).toBeFalsy()
      expect(await get(a, 'user')).toBeTruthy()
    })

    test('log in on one replica, read and log out on the other', async () => {
      const [a, b] = create()
      const [first, second] = [await serveSessions(a), await serveSessions(b)]
      const browser = createBrowser()
      expect((await browser.send('GET', `${first.url}/me`)).setCookie).toBeUndefined()
      const { setCookie } = await browser.send('POST', `${first.url}/log-in/u1`)
      expect(setCookie).toMatch(/^sid=s%3A[^;]+; Path=\/; Expires=[^;]+; HttpOnly; SameSite=Lax$/)
      expect((await browser.send('GET', `${second.url}/me`)).body).toMatchObject({ userId: 'u1', isSigned: true })
      const stolen = browser.cookie()
      expect((await browser.send('POST', `${second.url}/log-out`)).setCookie).toMatch(/^sid=;/)
      browser.use(stolen)
      expect((await browser.send('GET', `${first.url}/me`)).body.userId).toBeNull()
    })

    test('over HTTPS the cookie is Secure', async () => {
      const [a] = create()
      const { url } = await serveSessions(a)
      const { setCookie } = await createBrowser().send('POST', `${url}/log-in/u1`, { 'x-forwarded-proto': 'https' })
      expect(setCookie).toMatch(/; Secure/)
    })

    test('log-in renews the id: who knew the old one is not logged in', async () => {
      const [a, b] = create()
      const [first, second] = [await serveSessions(a), await serveSessions(b)]
      const browser = createBrowser()
      const { body: before } = await browser.send('POST', `${first.url}/log-in/u1`)
      const old = browser.cookie()
      const { body: after } = await browser.send('POST', `${second.url}/log-in/u1`)
      expect(browser.cookie()).not.toBe(old)
      expect(after.origin).toBe(before.origin) // what is kept beside the session goes along
      const { body: other } = await browser.send('POST', `${second.url}/log-in/u2`)
      expect(other.origin).not.toBe(before.origin) // but not to another user
      const attacker = createBrowser()
      attacker.use(old)
      expect((await attacker.send('GET', `${first.url}/me`)).body.userId).toBeNull()
    })

    test('a cookie from before the log-in belongs to no user: it reads and writes nothing, and gets no new cookie', async () => {
      const [a, b] = create()
      const [first, second] = [await serveSessions(a), await serveSessions(b)]
      const browser = createBrowser()
      const { body: visitor } = await browser.send('POST', `${first.url}/visit`)
      const old = createBrowser()
      old.use(browser.cookie())
      const { body: after } = await browser.send('POST', `${first.url}/log-in/u1`)
      expect(after.origin).toBe(visitor.origin)
      const { body, setCookie } = await old.send('GET', `${second.url}/me`)
      expect(body).toMatchObject({ userId: null, origin: null })
      expect(setCookie).toBeUndefined()
      for (const path of ['visit', 'save']) {
        const refused = await old.send('POST', `${second.url}/${path}`)
        expect(refused).toMatchObject({ status: 409, setCookie: undefined, body: { code: 'E_SESSION_ENDED' } })
      }
      expect((await browser.send('GET', `${second.url}/me`)).body.userId).toBe('u1')
    })

    test('a log-in with a cookie from before another log-in shares nothing with it', async () => {
      const [a, b] = create()
      const [first, second] = [await serveSessions(a), await serveSessions(b)]
      const browser = createBrowser()
      await browser.send('POST', `${first.url}/visit`)
      const attacker = createBrowser()
      attacker.use(browser.cookie())
      const { body: own } = await browser.send('POST', `${first.url}/log-in/u1`)
      const planted = attacker.cookie()
      const { body: other } = await attacker.send('POST', `${second.url}/log-in/u2`)
      expect(other.origin).not.toBe(own.origin)
      expect(attacker.cookie()).not.toBe(planted)
      expect((await attacker.send('GET', `${first.url}/me`)).body).toEqual({ ...other, isSigned: true })
    })

    test('finds the session among other cookies of the name: stale, ended, or with a name that only looks like it', async () => {
      const [a, b] = create()
      const [first, second] = [await serveSessions(a), await serveSessions(b)]
      const browser = createBrowser()
      await browser.send('POST', `${first.url}/log-in/u1`)
      const ended = browser.cookie()
      await browser.send('POST', `${first.url}/log-in/u1`)
      const valid = browser.cookie()
      const visitor = createBrowser()
      await visitor.send('POST', `${first.url}/visit`)
      for (const other of ['sid=old', ended, visitor.cookie(), '\u00a0sid=x', `\u00a0${ended}`]) {
        browser.use(`${other}; ${valid}`)
        expect((await browser.send('GET', `${second.url}/me`)).body.userId).toBe('u1')
      }
      browser.use(`\u00a0sid=x; ${valid}`)
      await browser.send('POST', `${second.url}/log-in/u1`)
      const renewed = browser.cookie()
      browser.use(valid)
      expect((await browser.send('GET', `${first.url}/me`)).body.userId).toBeNull()
      browser.use(`\u00a0sid=x; ${renewed}`)
      await browser.send('POST', `${second.url}/log-out`)
      browser.use(renewed)
      expect((await browser.send('GET', `${first.url}/me`)).body.userId).toBeNull()
    })

    test('log-in and log-out end every session that the cookies name', async () => {
      const [a, b] = create()
      const [first, second] = [await serveSessions(a), await serveSessions(b)]
      const users = await Promise.all(
        ['u1', 'u2', 'u3'].map(async (user) => {
          const browser = createBrowser()
          await browser.send('POST', `${first.url}/log-in/${user}`)
          return browser
        }),
      )
      const [one, two, three] = users.map((user) => user.cookie())
      const browser = createBrowser()
      browser.use(`${one}; ${two}`)
      const { body } = await browser.send('POST', `${second.url}/log-in/u1`)
      browser.use(`${two}; ${browser.cookie()}`)
      expect((await browser.send('GET', `${first.url}/me`)).body).toMatchObject(body)
      browser.use(`${browser.cookie()}; ${three}`)
      await browser.send('POST', `${second.url}/log-out`)
      browser.use(`${three}`)
      expect((await browser.send('GET', `${first.url}/me`)).body.userId).toBeNull()
    })

    test('an id is 192 random bits', async () => {
      const [a] = create()
      const { url } = await serveSessions(a)
      const ids = new Set<string>()
      for (let i = 0; i < 20; i++) {
        const browser = createBrowser()
        await browser.send('POST', `${url}/${i % 2 ? 'visit' : 'log-in/u1'}`)
        const id = /^sid=s%3A(?:a\.)?([\w-]{32})\./.exec(browser.cookie())?.[1]
        if (id !== undefined) ids.add(id)
      }
      expect(ids.size).toBe(20)
    })

    test('only the id of a visitor shows that it has not been used to log in', async () => {
      const [a] = create()
      const { url } = await serveSessions(a)
      const browser = createBrowser()
      await browser.send('POST', `${url}/visit`)
      expect((await browser.send('POST', `${url}/visit`)).body.isVisitor).toBe(true)
      await browser.send('POST', `${url}/log-in/u1`)
      expect((await browser.send('POST', `${url}/visit`)).body.isVisitor).toBe(false)
    })

    test('the name can change: the first is written, all are read, and a session moves to the first', async () => {
      const [a, b] = create()
      const before = await serveSessions(a)
      const after = await serveSessions(b, { cookieNames: ['__Host-sid', 'sid'] })
      const https = { 'x-forwarded-proto': 'https' }
      const browser = createBrowser()
      await browser.send('POST', `${before.url}/log-in/u1`)
      const old = browser.cookie()
      expect((await browser.send('GET', `${after.url}/me`)).setCookie).toBeUndefined() // not over HTTP
      const moved = await browser.send('GET', `${after.url}/me`, https)
      expect(moved.body.userId).toBe('u1')
      expect(moved.setCookie).toMatch(
        /^__Host-sid=[^;]+; Max-Age=\d+; Path=\/; Expires=[^;]+; HttpOnly; Secure; SameSite=Lax$/,
      )
      browser.use(`${old}; ${browser.cookie()}`)
      const { setCookie } = await browser.send('POST', `${after.url}/log-in/u1`, https)
      expect(setCookie).toMatch(/^__Host-sid=.*; Secure; /)
      browser.use(old)
      expect((await browser.send('GET', `${before.url}/me`)).body.userId).toBeNull()
    })

    test('an id may be new again when its bar is over', async () => {
      const [{ store }] = create({ barredMs: 30 })
      await set(store, 'one', {})
      await destroy(store, 'one')
      await vi.waitFor(async () => expect(await get(store, 'one')).toBeFalsy())
    })

    test('a slow request does not bring back what was logged out meanwhile', async () => {
      const [a, b] = create()
      const [first, second] = [await serveSessions(a), await serveSessions(b)]
      const browser = createBrowser()
      await browser.send('POST', `${first.url}/log-in/u1`)
      const cookie = browser.cookie()
      const slow = browser.send('POST', `${second.url}/write`)
      await vi.waitFor(() => expect(second.held).toHaveLength(1))
      await browser.send('POST', `${first.url}/log-out`)
      second.held[0]?.()
      await slow
      browser.use(cookie)
      expect((await browser.send('GET', `${first.url}/me`)).body.userId).toBeNull()
    })

    test('ends after its absolute lifetime, however much it is used', async () => {
      const [a] = create()
      const { url } = await serveSessions(a, { absoluteLifetimeMs: 600 })
      const browser = createBrowser()
      await browser.send('POST', `${url}/log-in/u1`)
      expect((await browser.send('GET', `${url}/me`)).body.userId).toBe('u1')
      await vi.waitFor(async () => expect((await browser.send('GET', `${url}/me`)).body.userId).toBeNull())
    })

    test('any secret of the list verifies, the first signs; others are strangers', async () => {
      const [a, b] = create()
      const old = await serveSessions(a, { secrets: [secretA] })
      const rotated = await serveSessions(b, { secrets: [secretB, secretA] })
      const foreign = await serveSessions(b, { secrets: ['c'.repeat(32)] })
      const browser = createBrowser()
      await browser.send('POST', `${old.url}/log-in/u1`)
      expect((await browser.send('GET', `${rotated.url}/me`)).body.userId).toBe('u1')
      expect((await browser.send('GET', `${foreign.url}/me`)).body).toMatchObject({ userId: null, isSigned: false })
      await browser.send('POST', `${rotated.url}/log-in/u1`)
      expect((await browser.send('GET', `${old.url}/me`)).body).toMatchObject({ userId: null, isSigned: false })
    })
  })
}
