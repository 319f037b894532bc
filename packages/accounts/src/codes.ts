import { deleteOlderThan } from '@escala/kit/postgres/delete-older'
import type { Postgres, Sql, Statement } from '@escala/kit/postgres/postgres'
import { accountErrors } from './errors.ts'
import { hashSecret, newSecret } from './secrets.ts'

export type Purpose = 'password-reset' | 'email-verification'

/** How long a code may be used. */
export const codeLifeMs = 3_600_000
/** Codes of one user and purpose that can be used at a time: mails may arrive late, and out of order. */
const maxCodes = 5

// Keeps the newest of the earlier codes and drops the others: this one comes on top.
const addCode: Statement = {
  name: 'users.addCode',
  text: `WITH receiver AS (
      SELECT id, email FROM users WHERE id = $1 AND ($2 <> 'email-verification' OR email_verified_at IS NULL)
    ), added AS (
      INSERT INTO account_codes (hash, user_id, purpose) SELECT $3, id, $2 FROM receiver
    ), dropped AS (
      DELETE FROM account_codes WHERE hash IN (
        SELECT hash FROM account_codes WHERE user_id = $1 AND purpose = $2
        ORDER BY created_at DESC OFFSET ${maxCodes - 1}
      )
    )
    SELECT email FROM receiver`,
}

const isFresh = `created_at > now() - ${codeLifeMs} * interval '1 millisecond'`
const findCode: Statement = {
  name: 'users.findCode',
  text: `SELECT users.email FROM account_codes AS code JOIN users ON users.id = code.user_id
    WHERE hash = $1 AND purpose = $2 AND code.${isFresh}`,
}
const useCode: Statement = {
  name: 'users.useCode',
  text: `DELETE FROM account_codes WHERE hash = $1 AND purpose = $2 AND ${isFresh} RETURNING user_id AS "userId"`,
}
const verifyEmail: Statement = {
  name: 'users.verifyEmail',
  text: `WITH used AS (DELETE FROM account_codes WHERE hash = $1 AND purpose = 'email-verification' AND ${isFresh} RETURNING user_id)
    UPDATE users SET email_verified_at = coalesce(email_verified_at, now()) FROM used WHERE users.id = used.user_id`,
}

/** Makes a code and returns it with the address to mail it to. `undefined`: there is no such user, or nothing to verify. */
export async function createCode(sql: Sql, userId: string, purpose: Purpose) {
  const secret = newSecret()
  const { rows } = await sql.query<{ email: string }>(addCode, [userId, purpose, hashSecret(secret)])
  return rows[0] && { secret, email: rows[0].email }
}

/** Returns whose the code is, and leaves it as it is. Throws `E_TOKEN_INVALID` when it cannot be used. */
export async function checkCode(sql: Sql, secret: string, purpose: Purpose): Promise<{ email: string }> {
  const { rows } = await sql.query<{ email: string }>(findCode, [hashSecret(secret), purpose])
  if (rows[0] === undefined) throw accountErrors.E_TOKEN_INVALID()
  return rows[0]
}

/** Uses the code up and returns its user. Throws `E_TOKEN_INVALID`: of several at once, all but one. */
export async function redeemCode(sql: Sql, secret: string, purpose: Purpose): Promise<string> {
  const { rows } = await sql.query<{ userId: string }>(useCode, [hashSecret(secret), purpose])
  if (rows[0] === undefined) throw accountErrors.E_TOKEN_INVALID()
  return rows[0].userId
}

/** Uses the code up. Throws `E_TOKEN_INVALID`. */
export async function redeemVerification(sql: Sql, secret: string): Promise<void> {
  const { rowCount } = await sql.query(verifyEmail, [hashSecret(secret)])
  if (rowCount === 0) throw accountErrors.E_TOKEN_INVALID()
}

/** Deletes codes that can no longer be used, and returns how many there were. */
export function cleanCodes(postgres: Postgres): Promise<number> {
  return deleteOlderThan(postgres, 'account_codes', 'created_at', codeLifeMs)
}
