import type { Postgres, Sql, Statement } from '@escala/kit/postgres/postgres'
import { endSession } from '@escala/kit/sessions/log-in'
import type { Request } from 'express'
import { v7 } from 'uuid'

export interface Account {
  id: string
  email: string
  name: string
}

const add: Statement = {
  name: 'users.add',
  // A conflict is no error: Postgres would write the address into its log.
  text: `INSERT INTO users (id, email, name, password_hash) VALUES ($1, $2, $3, $4)
    ON CONFLICT (lower(email)) DO NOTHING RETURNING id, email, name`,
}
const byId: Statement = { name: 'users.byId', shared: true, text: 'SELECT id, email, name FROM users WHERE id = $1' }
const byEmail: Statement = {
  name: 'users.byEmail',
  text: `SELECT id, email, name, password_hash AS "passwordHash", password_version AS "passwordVersion"
    FROM users WHERE lower(email) = lower($1)`,
}
const withHash: Statement = {
  name: 'users.withHash',
  text: `SELECT email, password_hash AS "passwordHash", password_version AS "passwordVersion" FROM users WHERE id = $1`,
}
const renewHash: Statement = {
  name: 'users.renewHash',
  text: 'UPDATE users SET password_hash = $3 WHERE id = $1 AND password_hash = $2',
}
const roleOf: Statement = { name: 'users.role', shared: true, text: 'SELECT role FROM users WHERE id = $1' }

/** `undefined`: the address is taken, whatever its letter case. */
export async function addAccount(
  postgres: Sql,
  { email, name, passwordHash }: Omit<Account, 'id'> & { passwordHash: string },
): Promise<Account | undefined> {
  const { rows } = await postgres.query<Account>(add, [v7(), email, name, passwordHash])
  return rows[0]
}

/** Does nothing when the password was changed meanwhile. */
export async function renewPasswordHash(postgres: Postgres, id: string, from: string, to: string): Promise<void> {
  await postgres.query(renewHash, [id, from, to])
}

export async function findAccount(postgres: Postgres, id: string): Promise<Account | undefined> {
  return (await postgres.query<Account>(byId, [id])).rows[0]
}

export async function findByEmail(postgres: Postgres, email: string) {
  type Row = Account & { passwordHash: string; passwordVersion: number }
  return (await postgres.query<Row>(byEmail, [email])).rows[0]
}

export async function findWithHash(postgres: Postgres, id: string) {
  type Row = { email: string; passwordHash: string; passwordVersion: number }
  return (await postgres.query<Row>(withHash, [id])).rows[0]
}

/**
 * Reads the role for each request that needs one, so that a role that was taken away is gone at once, on every replica.
 * Ends the session of a user who was deleted (`E_NOT_LOGGED_IN`).
 */
export function hasRole(postgres: Postgres): (userId: string, role: string, req: Request) => Promise<boolean> {
  return async (userId, role, req) => {
    const { rows } = await postgres.query<{ role: string | null }>(roleOf, [userId])
    if (rows[0] === undefined) throw await endSession(req)
    return rows[0].role === role
  }
}

/** Gives the user this role in place of the one before; `null` takes it away. `false`: there is no such account. */
export async function setRole(postgres: Postgres, email: string, role: string | null): Promise<boolean> {
  const text = 'UPDATE users SET role = $2 WHERE lower(email) = lower($1)'
  return (await postgres.query(text, [email, role])).rowCount > 0
}
