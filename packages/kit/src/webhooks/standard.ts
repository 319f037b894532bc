import { createHmac, timingSafeEqual } from 'node:crypto'
import type { IncomingHttpHeaders } from 'node:http'
import { kitErrors } from '../errors/errors.ts'

export interface VerifyOptions {
  /** `whsec_` and base64, as the sender shows it. Several while one replaces another. */
  secrets: string[]
  headers: IncomingHttpHeaders
  /** The exact bytes: JSON that was parsed and written again has another signature. */
  body: Buffer
  /** Largest difference between the sender's clock and this one, in both directions. */
  toleranceMs?: number
  /** In milliseconds; default: now. */
  nowMs?: number
}

export interface Webhook {
  /** The same for every repetition: what an effect that must happen once is kept under. */
  id: string
  sentAt: Date
}

/** Signatures of one request that are compared: a sender sends one for each secret that it has. */
const maxSignatures = 10

/**
 * Verifies a webhook signed as https://www.standardwebhooks.com says: HMAC-SHA256 of id, time and body. Throws
 * `E_WEBHOOK_SIGNATURE`, whatever is wrong with it.
 */
export function verifyWebhook(options: VerifyOptions): Webhook {
  const { secrets, headers, body, toleranceMs = 300_000, nowMs = Date.now() } = options
  const [id, time, list] = ['webhook-id', 'webhook-timestamp', 'webhook-signature'].map((name) => headers[name])
  if (typeof id !== 'string' || typeof time !== 'string' || typeof list !== 'string') throw refusal()
  if (!/^[^\s.]{1,200}$/.test(id) || !/^\d{1,12}$/.test(time)) throw refusal()
  const sentAt = new Date(Number(time) * 1000)
  if (Math.abs(nowMs - sentAt.getTime()) > toleranceMs) throw refusal()
  const given = list.split(' ', maxSignatures).flatMap((one) => (one.startsWith('v1,') ? [one.slice(3)] : []))
  const signatures = given.map((text) => Buffer.from(text, 'base64'))
  const isValid = secrets.some((secret) => {
    const key = Buffer.from(secret.replace(/^whsec_/, ''), 'base64')
    if (key.length < 16) throw new Error('a secret of webhooks has fewer than 16 bytes')
    const expected = createHmac('sha256', key).update(`${id}.${time}.`).update(body).digest()
    return signatures.some((one) => one.length === expected.length && timingSafeEqual(one, expected))
  })
  if (!isValid) throw refusal()
  return { id, sentAt }
}

const refusal = () => kitErrors.E_WEBHOOK_SIGNATURE()
