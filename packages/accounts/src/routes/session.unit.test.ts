import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { mountRoutes } from '@escala/kit/http/mount'
import { problemHandler } from '@escala/kit/http/problem'
import { requestContext } from '@escala/kit/http/request-context'
import { createLog } from '@escala/kit/log/log'
import type { Passwords } from '@escala/kit/passwords/passwords'
import type { Postgres } from '@escala/kit/postgres/postgres'
import { createMemorySessions } from '@escala/kit/sessions/memory'
import { createSessionMiddleware } from '@escala/kit/sessions/middleware'
import express from 'express'
import { expect, test, vi } from 'vitest'
import { sessionRoutes } from './session.ts'

const account = { id: '01990000-0000-7000-8000-000000000001', email: 'ann@example.com', name: 'Ann' }
const client = { from: '192.0.2.1', isKnown: false }

/** Logs in once over HTTP; `confirm` is the last check of the password. */
async function logIn(passwords: Passwords, confirm: () => Promise<{ rowCount: number }>, deadlineMs = 20_000) {
  const sessions = createMemorySessions()
  const routes = sessionRoutes({
    postgres: {
      query: async ({ name }: { name: string }) =>
        name === 'users.passwordIsUnchanged' ? confirm() : { rows: [{ ...account, passwordHash: 'old' }], rowCount: 1 },
    } as unknown as Postgres,
    passwords,
    limits: {
      beginLogIn: async () => ({ account: 'ann', client, succeeded: async () => {}, giveBack: async () => {} }),
      forget: async () => undefined,
      checkSignUp: async () => client,
    },
    devices: { read: () => undefined, clear: () => undefined, remember: () => {} },
  })
  const log = createLog({ service: 'test', replicaId: 't', version: '0', level: 'silent' })
  const app = express()
  app.use(requestContext({ log, replicaId: 't', exposeReplica: false, deadlineMs }))
  app.use(createSessionMiddleware({ sessions, secrets: ['a secret of at least 32 bytes, for tests'] }))
  mountRoutes(app, routes, { roles: [], hasRole: async () => false })
  app.use(problemHandler)
  const server = app.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const answer = await fetch(`http://127.0.0.1:${(server.address() as AddressInfo).port}/v1/session`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ email: account.email, password: 'correct horse' }),
  })
  const body = await answer.json()
  server.close()
  return { body, setCookie: answer.headers.get('set-cookie'), left: await sessions.ofUser.list(account.id) }
}

test('a log-in whose last check fails leaves no session and no cookie', async () => {
  const passwords: Passwords = { verify: async () => true, isOutdated: () => false, hash: async () => 'new' }
  const logged = await logIn(passwords, async () => {
    throw new Error('Postgres is gone')
  })
  expect(logged).toMatchObject({ body: { code: 'E_INTERNAL' }, setCookie: null, left: [] })
})

test('a hash that is to be renewed waits no longer than its request', async () => {
  let dropped = false
  const passwords: Passwords = {
    verify: async () => true,
    isOutdated: () => true,
    hash: (_password, signal) =>
      new Promise((_resolve, reject) => {
        signal?.addEventListener('abort', () => {
          dropped = true
          reject(new Error('dropped'))
        })
      }),
  }
  const { body } = await logIn(passwords, async () => ({ rowCount: 1 }), 100)
  expect(body).toMatchObject({ code: 'E_TIMEOUT' })
  await vi.waitFor(() => expect(dropped).toBe(true))
})
