import type { Job } from '@escala/kit/jobs/jobs'
import type { Mailer } from '@escala/kit/mail/mail'
import { deleteOlderThan } from '@escala/kit/postgres/delete-older'
import type { Postgres, Statement } from '@escala/kit/postgres/postgres'
import { farewellOf } from './messages.ts'

/** How long the address of a deleted account is kept for a mail that cannot be sent. */
const farewellMs = 86_400_000

const find: Statement = { name: 'farewells.find', text: 'SELECT email FROM account_farewells WHERE id = $1' }
const remove: Statement = { name: 'farewells.remove', text: 'DELETE FROM account_farewells WHERE id = $1' }

/** Confirms the deletion of an account to the address that it had, and deletes the address. */
export async function sendFarewell(job: Job, { postgres, mailer }: { postgres: Postgres; mailer: Mailer }) {
  const id = farewellOf(job)
  const [found] = (await postgres.query<{ email: string }>(find, [id])).rows
  if (found === undefined) return job.log.info({ farewellId: id }, 'no farewell to send')
  await mailer.send({
    to: found.email,
    subject: 'Your account was deleted',
    text: `Your account and your personal data were deleted, as you asked.\n\nIf you did not ask for it, someone else had access to your account.\n`,
    id: job.id,
    requestId: job.requestId,
    traceparent: job.traceparent,
    isFirst: job.isFirstTry,
    signal: job.signal,
  })
  await postgres.query(remove, [id])
}

/** Deletes the addresses of mails that could not be sent, and returns how many there were. */
export function cleanFarewells(postgres: Postgres): Promise<number> {
  return deleteOlderThan(postgres, 'account_farewells', 'created_at', farewellMs)
}
