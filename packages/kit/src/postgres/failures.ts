import type { DatabaseError } from 'pg'
import { AppError } from '../errors/app-error.ts'
import { kitErrors } from '../errors/errors.ts'

/** Returns the five-character SQLSTATE, if Postgres itself returned an error. */
export function sqlState(error: unknown): string | undefined {
  return isDatabaseError(error) ? error.code : undefined
}

/** Returns whether the server refused a row because of this constraint. */
export function violates(error: unknown, constraint: string): boolean {
  return isDatabaseError(error) && error.constraint === constraint
}

/** Serialization failures and deadlocks: nothing has happened, and the same may succeed when it is tried again. */
export function isConflict(error: unknown): boolean {
  return /^(40001|40P01)$/.test(sqlState(error) ?? '')
}

/** A value that the server cannot store or convert (class 22): a NUL in a text, a date out of range, a number too large. */
export function isBadValue(error: unknown): boolean {
  return /^22/.test(sqlState(error) ?? '')
}

/** The server takes no writes: it is a standby, or is configured to be read-only. */
export function isReadOnly(error: unknown): boolean {
  return sqlState(error) === '25006'
}

/** The server ends its connections because it shuts down, restarts or was demoted. */
export function isShutdown(error: unknown): boolean {
  return /^57P0[123]$/.test(sqlState(error) ?? '')
}

/** The server did not answer within the time that this process gives a statement. */
export function isUnanswered(error: unknown): boolean {
  return error instanceof Error && error.message === 'Query read timeout'
}

/** The server refuses the role, its password or the database, or the role lacks a right: an operator has to act. */
export function isRefusal(error: unknown): boolean {
  return /^(28|3D|42501)/.test(sqlState(error) ?? '')
}

/**
 * What a statement that was prepared earlier on this connection may fail with after a migration has changed a table
 * (0A000: "cached plan must not change result type"; 42…: types that no longer fit), or after a pooler has dropped it (26000).
 */
export function mayBeOutdated(error: unknown): boolean {
  return /^(0A000|42P18|42804|42846|42883|26000)$/.test(sqlState(error) ?? '')
}

// 08: connection; 53: too few resources; 57: ended or cancelled; 25P03: idle in a transaction for too long;
// 25006: read-only, as after a failover; 55P03: a row was locked for too long
const unavailable = /^(08|53|57|25P03|25006|55P03)/

/** Returns whether the connection must not be used again after this error of a statement. */
export function spoils(error: unknown): boolean {
  const state = sqlState(error)
  // Without a state it is unknown what the server still sends, or what pg believes to have prepared there.
  return state === undefined || /^(08|57P|25P03|25006)/.test(state)
}

/** Turns what keeps a connection from being made into `E_POSTGRES_UNAVAILABLE`. */
export function translateConnecting(error: unknown): AppError {
  if (error instanceof AppError) return error
  return kitErrors.E_POSTGRES_UNAVAILABLE({ cause: error, retryAfterMs: 1000 })
}

/**
 * Turns failures of the mechanism into `E_POSTGRES_UNAVAILABLE`. What the server says about the statement itself stays as it
 * is, and so does a mistake in the program, such as a value that cannot be sent.
 */
export function translate(error: unknown): unknown {
  const state = sqlState(error)
  if (state === undefined) return isMistake(error) ? error : translateConnecting(error)
  return unavailable.test(state) || isRefusal(error) ? translateConnecting(error) : error
}

// pg throws plain errors for these; everything else without a SQLSTATE is about the connection.
const mistakes =
  /^(Prepared statements must be unique|Query values must be an array|A query must have either|circular reference)/

function isMistake(error: unknown): boolean {
  if (error instanceof TypeError || error instanceof RangeError || error instanceof SyntaxError) return true
  return error instanceof Error && mistakes.test(error.message)
}

/** Describes a failure in one line for `/readyz`: "password authentication failed for user "shop" (28P01)". */
export function describeFailure(error: unknown): string {
  const cause = error instanceof AppError && error.cause !== undefined ? error.cause : error
  if (!(cause instanceof Error)) return String(cause)
  const { code } = cause as { code?: unknown }
  if (typeof code !== 'string' || cause.message.includes(code)) return cause.message
  return cause.message ? `${cause.message} (${code})` : code
}

/** By its fields rather than its class: `E_INTERNAL` and the like are decided in processes that have no `pg`, or two copies of it. */
function isDatabaseError(error: unknown): error is DatabaseError {
  return error instanceof Error && 'severity' in error && 'routine' in error && 'code' in error
}
