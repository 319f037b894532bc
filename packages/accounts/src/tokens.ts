import { deleteOlderThan } from '@escala/kit/postgres/delete-older'
import type { Postgres, Sql, Statement } from '@escala/kit/postgres/postgres'
import type { Bearer } from '@escala/kit/sessions/bearer'
import { v7 } from 'uuid'
import { accountErrors } from './errors.ts'
import { hashSecret, newSecret } from './secrets.ts'

export interface AccessToken {
  id: string
  name: string
  scopes: string[]
  expiresAt: string
}

/** Valid tokens of one user at a time. */
export const maxTokens = 50

const columns = 'id, name, scopes, expires_at AS "expiresAt"'
type Row = Omit<AccessToken, 'expiresAt'> & { expiresAt: Date }
const toToken = ({ expiresAt, ...rest }: Row): AccessToken => ({ ...rest, expiresAt: expiresAt.toISOString() })

// One after the other for each user: two at once cannot both be the last one that is allowed. Rows that refer to the user do not wait.
const lockUser: Statement = { name: 'users.lock', text: 'SELECT FROM users WHERE id = $1 FOR NO KEY UPDATE' }
const add: Statement = {
  name: 'users.addToken',
  text: `INSERT INTO access_tokens (id, user_id, name, scopes, hash, expires_at) SELECT $1, $2, $3, $4, $5, $6
    WHERE (SELECT count(*) FROM access_tokens WHERE user_id = $2 AND expires_at > now()) < ${maxTokens}
    RETURNING ${columns}`,
}
const page: Statement = {
  name: 'users.tokens',
  text: `SELECT ${columns} FROM access_tokens WHERE user_id = $1 AND id > $2 AND expires_at > now() ORDER BY id LIMIT $3`,
}
const remove: Statement = {
  name: 'users.removeToken',
  text: 'DELETE FROM access_tokens WHERE user_id = $1 AND id = $2',
}
const byHash: Statement = {
  name: 'users.token',
  shared: true,
  text: 'SELECT user_id AS "userId", scopes FROM access_tokens WHERE hash = $1 AND expires_at > now()',
}

/**
 * Throws `E_TOO_MANY_TOKENS`. `undefined`: the user was deleted, or is not logged in any more. `isStillLoggedIn` is asked under the lock
 * that a reset of the password holds while it revokes tokens and ends sessions: no token outlives a reset that came first.
 */
export async function addToken(
  postgres: Postgres,
  userId: string,
  given: Omit<AccessToken, 'id'>,
  isStillLoggedIn: () => Promise<boolean>,
) {
  const token = `escala_${newSecret()}`
  return postgres.transaction(async (tx) => {
    if ((await tx.query(lockUser, [userId])).rowCount === 0 || !(await isStillLoggedIn())) return undefined
    const values = [v7(), userId, given.name, given.scopes, hashSecret(token), given.expiresAt]
    const { rows } = await tx.query<Row>(add, values)
    if (rows[0] === undefined) throw accountErrors.E_TOO_MANY_TOKENS()
    return { ...toToken(rows[0]), token }
  })
}

/** Those after `cursor`, an id, in the order in which they were made. */
export async function listTokens(sql: Sql, userId: string, cursor: string, limit: number): Promise<AccessToken[]> {
  return (await sql.query<Row>(page, [userId, cursor, limit])).rows.map(toToken)
}

/** `false`: the user has no such token. */
export async function removeToken(sql: Sql, userId: string, id: string): Promise<boolean> {
  return (await sql.query(remove, [userId, id])).rowCount > 0
}

export async function findBearer(sql: Sql, token: string): Promise<Bearer | undefined> {
  return (await sql.query<Bearer>(byHash, [hashSecret(token)])).rows[0]
}

/** Deletes expired tokens and returns how many there were. */
export function cleanTokens(postgres: Postgres): Promise<number> {
  return deleteOlderThan(postgres, 'access_tokens', 'expires_at', 0)
}
