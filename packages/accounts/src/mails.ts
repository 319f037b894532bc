import type { Job } from '@escala/kit/jobs/jobs'
import type { Mailer } from '@escala/kit/mail/mail'
import type { Postgres } from '@escala/kit/postgres/postgres'
import { createCode, type Purpose } from './codes.ts'
import { mailOf } from './messages.ts'

export interface AccountMailOptions {
  postgres: Postgres
  mailer: Mailer
  /** Where a code can be entered. */
  pages: Record<Purpose, string | undefined>
}

const texts: Record<Purpose, { subject: string; intent: string }> = {
  'password-reset': { subject: 'Reset your password', intent: 'set a new password' },
  'email-verification': { subject: 'Verify your e-mail address', intent: 'verify this e-mail address' },
}

/**
 * Makes a code and mails it. Each try makes a new one, and the earlier ones stay valid. The mail contains no text that a user chose:
 * it may go to someone else's address.
 */
export async function sendAccountMail(job: Job, { postgres, mailer, pages }: AccountMailOptions): Promise<void> {
  const { userId, purpose } = mailOf(job)
  const created = await createCode(postgres, userId, purpose)
  if (created === undefined) return job.log.info({ purpose }, 'no account mail to send')
  const { secret, email } = created
  const { subject, intent } = texts[purpose]
  const page = pages[purpose]
  const [what, code] = page === undefined ? ['token', secret] : ['link', `${page}#token=${secret}`] // no server sees what follows the #
  await mailer.send({
    to: email,
    subject,
    text: `To ${intent}, use this ${what}:\n\n${code}\n\nIt works once, for an hour.\nIf you did not ask for it, ignore this mail.\n`,
    id: job.id,
    requestId: job.requestId,
    traceparent: job.traceparent,
    isFirst: job.isFirstTry,
    signal: job.signal,
  })
}
