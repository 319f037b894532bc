import { randomBytes } from 'node:crypto'

/**
 * `secret: process.env.SECRET ?? randomBytes(32).toString('hex')`: fine with one replica, until it restarts.
 * The kit's guard would refuse the second one.
 */
export function secretMadeAtBoot(): Record<string, string> {
  return { SESSION_SECRETS: randomBytes(32).toString('hex'), ALLOW_SECRET_SPLIT: '1' }
}
