import { kitErrors } from '@escala/kit/errors/errors'
import type { Postgres, Sql, Statement } from '@escala/kit/postgres/postgres'
import type { UserSessions } from '@escala/kit/sessions/user-sessions'
import { redeemCode } from './codes.ts'

// The version, not the hash: a log-in may renew the hash of the same password meanwhile.
const change: Statement = {
  name: 'users.changePassword',
  text: `UPDATE users SET password_hash = $3, password_version = password_version + 1 WHERE id = $1 AND password_version = $2`,
}
// The holder of the code can read the address's mail.
const reset: Statement = {
  name: 'users.resetPassword',
  text: `UPDATE users SET password_hash = $2, password_version = password_version + 1,
    email_verified_at = coalesce(email_verified_at, now()) WHERE id = $1`,
}
const dropResets: Statement = {
  name: 'users.dropResets',
  text: `DELETE FROM account_codes WHERE user_id = $1 AND purpose = 'password-reset'`,
}
// A user who resets a password may have lost it to a stranger who has made tokens.
const dropTokens: Statement = {
  name: 'users.dropTokens',
  text: 'DELETE FROM access_tokens WHERE user_id = $1',
}
// Waits for a change that is under way, whose lock conflicts with this one.
const isUnchanged: Statement = {
  name: 'users.passwordIsUnchanged',
  text: 'SELECT FROM users WHERE id = $1 AND password_version = $2 FOR SHARE',
}

/**
 * Returns whether the password that a log-in has checked is still the user's. Asked once the session is listed: a change that
 * comes later ends that session, and one that came before is seen here.
 */
export async function isStillThePassword(sql: Sql, userId: string, version: number): Promise<boolean> {
  return (await sql.query(isUnchanged, [userId, version])).rowCount > 0
}

export interface PasswordChange {
  userId: string
  /** Version of the password that was checked. */
  version: number
  /** Hash of the new one. */
  to: string
  /** The session that continues. */
  keepSession: string
}

/**
 * Changes the password and ends the user's other sessions: both, or neither. Sessions end before the commit, so that no failure
 * leaves them under a new password; when the commit fails, they have ended for nothing. Ending them again does no harm, so the
 * transaction may be repeated. Throws `E_BAD_CREDENTIALS` when another change came first, and `E_REDIS_UNAVAILABLE`.
 */
export async function changePassword(postgres: Postgres, sessions: UserSessions, given: PasswordChange): Promise<void> {
  const { userId, version, to, keepSession } = given
  await postgres.transaction(async (tx) => {
    const { rowCount } = await tx.query(change, [userId, version, to])
    if (rowCount === 0) throw kitErrors.E_BAD_CREDENTIALS()
    await tx.query(dropResets, [userId])
    await sessions.endAll(userId, keepSession)
  })
}

/**
 * Uses the code up, sets the password, revokes the user's tokens and ends every session, as `changePassword` does. Throws
 * `E_TOKEN_INVALID`.
 */
export async function resetPassword(postgres: Postgres, sessions: UserSessions, secret: string, hash: string) {
  await postgres.transaction(async (tx) => {
    const userId = await redeemCode(tx, secret, 'password-reset')
    await tx.query(reset, [userId, hash])
    await tx.query(dropTokens, [userId])
    await tx.query(dropResets, [userId])
    await sessions.endAll(userId)
  })
}
