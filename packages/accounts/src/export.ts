import type { ApiParts } from '@escala/kit/module'
import type { Sql, Statement } from '@escala/kit/postgres/postgres'
import { handleOf } from '@escala/kit/sessions/user-sessions'
import { z } from 'zod'
import { listTokens, maxTokens } from './tokens.ts'

const select: Statement = {
  name: 'users.export',
  text: `SELECT id, email, name, role, created_at AS "createdAt", email_verified_at AS "emailVerifiedAt" FROM users WHERE id = $1`,
}
const firstToken = '00000000-0000-0000-0000-000000000000'

const time = z.iso.datetime()

/** What a user can read about themselves. `modules`: what each module stores, in its own form. */
export const exported = z.strictObject({
  exportedAt: time,
  account: z.strictObject({
    id: z.uuid(),
    email: z.string(),
    name: z.string(),
    role: z.string().nullable(),
    createdAt: time,
    emailVerifiedAt: time.nullable(),
  }),
  sessions: z.array(
    z.strictObject({
      id: z.uuid(),
      createdAt: time,
      lastSeenAt: time,
      userAgent: z.string(),
      kept: z.record(z.string(), z.record(z.string(), z.string())),
    }),
  ),
  tokens: z.array(z.strictObject({ id: z.uuid(), name: z.string(), scopes: z.array(z.string()), expiresAt: time })),
  modules: z.record(z.string(), z.unknown()),
})

type Parts = Pick<ApiParts, 'postgres' | 'personalData' | 'userSessions' | 'sessionState'>
type Exported = z.output<typeof exported>

/** Collects what is stored about a user. `undefined`: the user was deleted. Throws `E_REDIS_UNAVAILABLE`. */
export async function exportAccount(parts: Parts, userId: string): Promise<Exported | undefined> {
  const { postgres, personalData } = parts
  const account = await readAccount(postgres, userId)
  if (account === undefined) return undefined
  const sessions = await readSessions(parts, userId)
  const tokens = await listTokens(postgres, userId, firstToken, maxTokens)
  const modules: Record<string, unknown> = {}
  for (const [name, stored] of Object.entries(personalData)) modules[name] = await stored.export(postgres, userId)
  return { exportedAt: new Date().toISOString(), account, sessions, tokens, modules }
}

async function readAccount(sql: Sql, userId: string): Promise<Exported['account'] | undefined> {
  type Row = Omit<Exported['account'], 'createdAt' | 'emailVerifiedAt'> & {
    createdAt: Date
    emailVerifiedAt: Date | null
  }
  const [row] = (await sql.query<Row>(select, [userId])).rows
  if (row === undefined) return undefined
  const emailVerifiedAt = row.emailVerifiedAt?.toISOString() ?? null
  return { ...row, createdAt: row.createdAt.toISOString(), emailVerifiedAt }
}

async function readSessions({ userSessions, sessionState }: Parts, userId: string): Promise<Exported['sessions']> {
  const sessions = await userSessions.list(userId)
  const kept = await Promise.all(sessions.map(({ origin }) => sessionState.readAll(origin)))
  return sessions.map(({ id, createdAt, lastSeenAt, userAgent }, i) => ({
    id: handleOf(id),
    createdAt: new Date(createdAt).toISOString(),
    lastSeenAt: new Date(lastSeenAt).toISOString(),
    userAgent,
    kept: kept[i] ?? {},
  }))
}
