import crypto, { randomBytes, timingSafeEqual } from 'node:crypto'
import type { PasswordForm } from './form.ts'

export interface Argon2idParameters {
  /** Kilobytes. */
  memory: number
  passes: number
}

/** OWASP's Password Storage Cheat Sheet: 19 MiB, two passes, one lane. 43 ms of one core where it was measured. */
export const owaspArgon2id: Argon2idParameters = { memory: 19_456, passes: 2 }

const pattern = /^\$argon2id\$v=19\$m=(\d{1,7}),t=(\d{1,3}),p=1\$([\w+/]+)\$([\w+/]+)$/

/** From Node 24.7 on; older versions have no `crypto.argon2`. */
export const hasArgon2 = typeof crypto.argon2 === 'function'

/** Writes and verifies RFC 9106 hashes in the PHC string format: `$argon2id$v=19$m=19456,t=2,p=1$salt$hash`. */
export function argon2id(parameters = owaspArgon2id): PasswordForm {
  const { memory, passes } = parameters
  return {
    matches: (hash) => hash.startsWith('$argon2id$'),
    isCurrent: (hash) => hash.startsWith(`$argon2id$v=19$m=${memory},t=${passes},p=1$`),
    async hash(password) {
      const salt = randomBytes(16)
      return format(parameters, salt, await derive(password, salt, 32, parameters))
    },
    async verify(password, hash) {
      const match = pattern.exec(hash)
      if (!match) throw new Error('a stored password hash has an unknown form')
      const [salt, stored] = [Buffer.from(match[3] ?? '', 'base64'), Buffer.from(match[4] ?? '', 'base64')]
      const derived = await derive(password, salt, stored.length, {
        memory: Number(match[1]),
        passes: Number(match[2]),
      })
      return timingSafeEqual(derived, stored)
    },
    decoy: () => format(parameters, randomBytes(16), randomBytes(32)),
  }
}

function derive(message: string, nonce: Buffer, tagLength: number, parameters: Argon2idParameters): Promise<Buffer> {
  return new Promise((resolve, reject) =>
    crypto.argon2('argon2id', { message, nonce, tagLength, parallelism: 1, ...parameters }, (error, derived) =>
      error ? reject(error) : resolve(derived),
    ),
  )
}

function format({ memory, passes }: Argon2idParameters, salt: Buffer, derived: Buffer): string {
  const [saltText, text] = [salt, derived].map((bytes) => bytes.toString('base64').replace(/=+$/, ''))
  return `$argon2id$v=19$m=${memory},t=${passes},p=1$${saltText}$${text}`
}
