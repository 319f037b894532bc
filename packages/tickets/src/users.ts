import { hasCode } from '@escala/kit/errors/app-error'
import type { Sql, Statement } from '@escala/kit/postgres/postgres'
import { sessionUser } from '@escala/kit/sessions/express-session'
import { endSession } from '@escala/kit/sessions/log-in'
import type { Request } from 'express'
import { ticketErrors } from './errors.ts'

const selectUser: Statement = { name: 'tickets-user-exists', shared: true, text: 'SELECT FROM users WHERE id = $1' }

const selectVerified: Statement = {
  name: 'tickets-user-verified',
  shared: true,
  text: 'SELECT FROM users WHERE id = $1 AND email_verified_at IS NOT NULL',
}

/**
 * Ends the session of a user who was deleted and throws `E_NOT_LOGGED_IN`; does nothing for a visitor. What needs no Postgres
 * otherwise goes on while Postgres is unreachable.
 */
export async function requireUser(sql: Sql, req: Request): Promise<void> {
  const userId = sessionUser(req)
  if (userId === undefined || (await exists(sql, userId))) return
  throw await endSession(req)
}

async function exists(sql: Sql, userId: string): Promise<boolean> {
  try {
    return (await sql.query(selectUser, [userId])).rowCount > 0
  } catch (error) {
    if (hasCode(error, 'E_POSTGRES_UNAVAILABLE')) return true
    throw error
  }
}

/** Throws `E_EMAIL_NOT_VERIFIED`. */
export async function requireVerifiedEmail(sql: Sql, userId: string): Promise<void> {
  if ((await sql.query(selectVerified, [userId])).rowCount === 0) throw ticketErrors.E_EMAIL_NOT_VERIFIED()
}
