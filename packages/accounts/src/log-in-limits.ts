import { createHash } from 'node:crypto'
import { kitErrors } from '@escala/kit/errors/errors'
import type { Logger } from '@escala/kit/log/log'
import type { HashClient } from '@escala/kit/passwords/queue'
import type { LogInAttempt, LogInGuard } from '@escala/kit/rate-limits/log-in-guard'
import { addressKey, createRateLimit } from '@escala/kit/rate-limits/middleware'
import type { RateLimitStores } from '@escala/kit/rate-limits/rate-limits'
import type { DeviceCookies } from '@escala/kit/sessions/device'
import type { Request, Response } from 'express'

export interface LogInLimitsOptions {
  stores: RateLimitStores
  guard: LogInGuard
  devices: DeviceCookies
  log: Logger
  /** Log-ins, sign-ups and requests for mails of one address in a minute, together; and as many log-ins of devices that logged in before. */
  perAddress: number
  /** Live replicas, as last known. */
  share: () => number
  /** How long a sign-up waits for Redis before its replica counts by itself. */
  patienceMs: number
}

export interface LogInLimits {
  /**
   * Throws `E_RATE_LIMITED`, or `E_REDIS_UNAVAILABLE`: a limit that guards passwords does not widen because a server is down.
   * `known`: an identifier of a client that has shown in another way than by the device's cookie that it logged in to this account.
   */
  beginLogIn(
    req: Request,
    res: Response,
    email: string,
    known?: string,
  ): Promise<LogInAttempt & { account: string; client: HashClient }>
  /** Throws `E_RATE_LIMITED`. While Redis is unreachable, each replica allows its share. */
  checkSignUp(req: Request, res: Response): Promise<HashClient>
  /** Forgets which addresses logged in to an account that is deleted. Throws `E_REDIS_UNAVAILABLE`. */
  forget(email: string): Promise<void>
}

const triesPerMinute = 5

export function createLogInLimits(options: LogInLimitsOptions): LogInLimits {
  const { stores, guard, devices, log, perAddress, ...local } = options
  const policy = { name: 'log-in-address', limit: perAddress, windowMs: 60_000 }
  const address = createRateLimit({ policy, stores, key: addressKey, log, onStoreError: 'refuse' })
  const signUp = createRateLimit({ policy, stores, key: addressKey, log, onStoreError: 'local-share', ...local })
  // By themselves, so that guesses at the same address do not use them up.
  const devicesOfAddress = createRateLimit({
    policy: { ...policy, name: 'log-in-devices' },
    stores,
    key: addressKey,
    log,
    onStoreError: 'refuse',
  })
  const tries = createRateLimit({
    policy: { name: 'log-in', limit: triesPerMinute, windowMs: 60_000 },
    stores,
    key: addressKey,
    log,
    onStoreError: 'refuse',
  })

  return {
    forget: (email) => guard.forget(accountKey(email)),
    async beginLogIn(req, res, email, known) {
      const account = accountKey(email)
      const from = digest(addressKey(req))
      // A device that logged in to this account before is counted by itself: others at its address cannot use up its tries.
      const device = known ?? devices.read(req, account)
      const [attempt, tried, counted] = await Promise.allSettled([
        guard.begin({ account, address: from, device }),
        tries.check(req, res, digest(`${device ?? from} ${account}`)),
        (device === undefined ? address : devicesOfAddress).check(req, res),
      ])
      const giveBack = async () => {
        const used = tried.status === 'fulfilled' ? [tries.giveBack(req)] : []
        await Promise.all([...used, ...(attempt.status === 'fulfilled' ? [attempt.value.giveBack()] : [])])
      }
      const refused = [tried, counted].find((result) => result.status === 'rejected')
      if (refused === undefined && attempt.status === 'fulfilled') {
        const client = { from: addressKey(req), isKnown: device !== undefined }
        return { ...attempt.value, account, client, giveBack }
      }
      // What a device is refused must not use up the log-ins of others at its address. A stranger's refusals count, as guesses do.
      const all = [giveBack(), device !== undefined && devicesOfAddress.giveBack(req)]
      void Promise.all(all).catch((err) => log.warn({ err }, 'a refused log-in counts as a failure'))
      throw refused?.reason ?? (attempt as PromiseRejectedResult).reason
    },
    async checkSignUp(req, res) {
      await signUp.check(req, res)
      return { from: addressKey(req), isKnown: false }
    },
  }
}

/** Counts an attempt as a failure only if its password was wrong. */
export async function judge<T>(attempt: LogInAttempt, log: Logger, work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    const wasWrong = (error as { code?: unknown }).code === kitErrors.E_BAD_CREDENTIALS().code
    if (!wasWrong)
      void attempt.giveBack().catch((err) => log.warn({ err }, 'a log-in that failed counts as a wrong one'))
    throw error
  }
}

const accountKey = (email: string) => digest(email.toLowerCase())

/** Keeps e-mail addresses out of Redis's keys, and the keys short. */
function digest(text: string): string {
  return createHash('sha256').update(text).digest('base64url')
}
