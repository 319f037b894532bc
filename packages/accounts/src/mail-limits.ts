import { createHash } from 'node:crypto'
import type { Logger } from '@escala/kit/log/log'
import { addressKey, createRateLimit } from '@escala/kit/rate-limits/middleware'
import type { RateLimitStores } from '@escala/kit/rate-limits/rate-limits'
import type { Request, Response } from 'express'

export interface MailLimits {
  /** Throws `E_RATE_LIMITED`, whether or not there is such an account, or `E_REDIS_UNAVAILABLE`. */
  checkReset(req: Request, res: Response, email: string): Promise<void>
  checkVerification(req: Request, res: Response, userId: string): Promise<void>
}

/** Mails of one kind to one account in an hour, whichever client asks for them. As many codes are valid at a time. */
const mailsPerHour = 5

export function createMailLimits({ stores, log }: { stores: RateLimitStores; log: Logger }): MailLimits {
  const create = (name: string) =>
    createRateLimit({
      policy: { name, limit: mailsPerHour, windowMs: 3_600_000 },
      stores,
      key: addressKey,
      log,
      onStoreError: 'refuse',
    })
  const [resets, verifications] = [create('password-resets'), create('email-verifications')]
  return {
    checkReset: (req, res, email) =>
      resets.check(req, res, createHash('sha256').update(email.toLowerCase()).digest('base64url')),
    checkVerification: (req, res, userId) => verifications.check(req, res, userId),
  }
}
