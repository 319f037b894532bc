import { kitErrors } from '@escala/kit/errors/errors'
import type { Context } from '@escala/kit/http/route'
import type { ApiParts } from '@escala/kit/module'
import type { HashClient } from '@escala/kit/passwords/queue'
import { endSession } from '@escala/kit/sessions/log-in'
import { handleOf } from '@escala/kit/sessions/user-sessions'
import { findWithHash } from '../accounts.ts'
import { accountErrors } from '../errors.ts'
import { judge, type LogInLimits } from '../log-in-limits.ts'

/**
 * Checks the password of a logged-in user, and returns its version. With a stolen session passwords could be tried, so the limits
 * are those of a log-in by a known device; each session counts by itself. Throws `E_BAD_CREDENTIALS`, `E_RATE_LIMITED`, `E_OVERLOADED`, and `E_NOT_LOGGED_IN` for a deleted user.
 */
export type CheckPassword = (
  context: Pick<Context<unknown, unknown, unknown>, 'req' | 'res' | 'signal' | 'log'> & { user: { id: string } },
  password: string,
) => Promise<{ version: number; client: HashClient; email: string }>

/** How long after a log-in no password is asked for. */
const freshMs = 600_000

/**
 * Makes sure that it is the user who asks: by the password, or by a log-in within the last ten minutes. Throws what `CheckPassword` throws, and
 * `E_PASSWORD_REQUIRED`.
 */
export type ConfirmUser = (context: Parameters<CheckPassword>[0], password: string | undefined) => Promise<void>

export function createConfirmUser(checkPassword: CheckPassword): ConfirmUser {
  return async (context, password) => {
    if (password !== undefined) await checkPassword(context, password)
    else if ((context.req.session.loggedInAt ?? 0) < Date.now() - freshMs) throw accountErrors.E_PASSWORD_REQUIRED()
  }
}

interface Deps extends Pick<ApiParts, 'postgres' | 'passwords'> {
  limits: LogInLimits
}

export function createCheckPassword({ postgres, passwords, limits }: Deps): CheckPassword {
  return async ({ user, req, res, signal, log }, password) => {
    const found = await findWithHash(postgres, user.id)
    if (found === undefined) throw await endSession(req)
    // The device's cookie goes to log-ins only; a session says as much, and strangers must not lock its user out of a new password.
    const attempt = await limits.beginLogIn(req, res, found.email, handleOf(req.sessionID))
    await judge(attempt, log, async () => {
      if (await passwords.verify(password, found.passwordHash, signal, attempt.client)) return
      throw kitErrors.E_BAD_CREDENTIALS()
    })
    await attempt.giveBack().catch((err) => log.warn({ err }, 'a right password counts as a wrong one'))
    return { version: found.passwordVersion, client: attempt.client, email: found.email }
  }
}
