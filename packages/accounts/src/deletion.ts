import type { ApiParts } from '@escala/kit/module'
import type { Outbox } from '@escala/kit/outbox/outbox'
import type { Statement } from '@escala/kit/postgres/postgres'
import { v7 } from 'uuid'
import type { LogInLimits } from './log-in-limits.ts'
import { type Cause, farewellType, payloadVersion } from './messages.ts'

const lock: Statement = { name: 'users.lockToDelete', text: 'SELECT email FROM users WHERE id = $1 FOR UPDATE' }

// Codes and tokens go with their user. The address is kept for the mail that confirms it.
const remove = (outbox: Pick<Outbox, 'insert'>): Statement => ({
  name: 'users.delete',
  text: `WITH gone AS (DELETE FROM users WHERE id = $1 RETURNING email),
    farewell AS (INSERT INTO account_farewells (id, email) SELECT $2::uuid, email FROM gone RETURNING id)
    ${outbox.insert(`SELECT '${farewellType}', id::text,
      json_build_object('version', ${payloadVersion}, 'farewellId', id), $3::text, $4::text FROM farewell`)}`,
})

export interface Deletion extends Cause {
  userId: string
  /** Asked once the user's row is locked. */
  isStillLoggedIn(): Promise<boolean>
}

interface Parts
  extends Pick<ApiParts, 'postgres' | 'outbox' | 'idempotency' | 'personalData' | 'userSessions' | 'sessionState'> {
  limits: Pick<LogInLimits, 'forget'>
}

/**
 * Deletes a user, with what every module stores about them: all of it, or nothing. Sessions end, and what is kept beside them goes, before
 * the commit: when that fails, they have ended for nothing. Doing it again does no harm, so the transaction may be repeated.
 * Returns `logged-out`, and deletes nothing, if the session ended meanwhile. Throws what a module refuses with, and `E_REDIS_UNAVAILABLE`.
 */
export async function deleteAccount(parts: Parts, deletion: Deletion): Promise<'deleted' | 'logged-out'> {
  const { postgres, outbox, idempotency, personalData, userSessions, sessionState, limits } = parts
  const { userId, requestId, traceparent } = deletion
  const origins = new Set<string>() // a repetition finds no session any more
  return postgres.transaction(async (tx) => {
    const { rows } = await tx.query<{ email: string }>(lock, [userId])
    if (rows[0] === undefined) return 'deleted' // by another request at the same time
    if (!(await deletion.isStillLoggedIn())) return 'logged-out'
    for (const { erase } of Object.values(personalData)) await erase(tx, userId)
    await idempotency.forget(tx, userId)
    await tx.query(remove(outbox), [userId, v7(), requestId, traceparent ?? null])
    const [ended] = await Promise.all([userSessions.endAll(userId), limits.forget(rows[0].email)])
    for (const { origin } of ended) origins.add(origin)
    await Promise.all([...origins].map((origin) => sessionState.clearAll(origin)))
    return 'deleted'
  })
}
