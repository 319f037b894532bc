import type { Context } from '@escala/kit/http/route'
import { createLog } from '@escala/kit/log/log'
import type { Passwords } from '@escala/kit/passwords/passwords'
import type { Postgres } from '@escala/kit/postgres/postgres'
import { expect, test } from 'vitest'
import type { LogInLimits } from '../log-in-limits.ts'
import { createCheckPassword } from './check-password.ts'

test('a right password is right, even when its attempt cannot be given back', async () => {
  const client = { from: '192.0.2.1', isKnown: true }
  const giveBack = () => Promise.reject(new Error('Redis is gone'))
  const known: unknown[] = []
  const check = createCheckPassword({
    postgres: {
      query: async () => ({ rows: [{ email: 'ann@example.com', passwordHash: 'old' }], rowCount: 1 }),
    } as unknown as Postgres,
    passwords: { verify: async () => true } as unknown as Passwords,
    limits: {
      beginLogIn: async (...[, , , session]: Parameters<LogInLimits['beginLogIn']>) => {
        known.push(session)
        return { account: 'ann', client, succeeded: async () => {}, giveBack }
      },
      forget: async () => undefined,
      checkSignUp: async () => client,
    },
  })
  const log = createLog({ service: 'test', replicaId: 't', version: '0', level: 'silent' })
  const context = { user: { id: 'ann' }, req: { sessionID: 'secret' }, res: {}, signal: undefined, log }
  expect(
    await check(context as unknown as Context<unknown, unknown, unknown> & { user: { id: string } }, 'right'),
  ).toMatchObject({ client })
  expect(known).toEqual([expect.not.stringContaining('secret')])
})
