import { randomBytes, type ScryptOptions, scrypt as scryptWith, timingSafeEqual } from 'node:crypto'
import type { PasswordForm } from './form.ts'

export interface ScryptParameters {
  /** N, a power of two. */
  cost: number
  blockSize: number
  parallelization: number
}

/** OWASP's Password Storage Cheat Sheet, in the form that needs least memory but one: 32 MiB. */
export const owaspScrypt: ScryptParameters = { cost: 2 ** 15, blockSize: 8, parallelization: 3 }

const pattern = /^\$scrypt\$ln=(\d{1,2}),r=(\d{1,2}),p=(\d{1,2})\$([\w-]+)\$([\w-]+)$/

/** Writes and verifies RFC 7914 hashes that name their own parameters: `$scrypt$ln=15,r=8,p=3$salt$hash`. */
export function scrypt(parameters = owaspScrypt): PasswordForm {
  const prefix = `$scrypt$${describe(parameters)}$`
  return {
    matches: (hash) => hash.startsWith('$scrypt$'),
    isCurrent: (hash) => hash.startsWith(prefix),
    async hash(password) {
      const salt = randomBytes(16)
      return format(prefix, salt, await derive(password, salt, 32, parameters))
    },
    async verify(password, hash) {
      const match = pattern.exec(hash)
      if (!match) throw new Error('a stored password hash has an unknown form')
      const [ln, blockSize, parallelization] = match.slice(1, 4).map(Number) as [number, number, number]
      const stored = Buffer.from(match[5] ?? '', 'base64url')
      const salt = Buffer.from(match[4] ?? '', 'base64url')
      const derived = await derive(password, salt, stored.length, { cost: 2 ** ln, blockSize, parallelization })
      return timingSafeEqual(derived, stored)
    },
    decoy: () => format(prefix, randomBytes(16), randomBytes(32)),
  }
}

function derive(password: string, salt: Buffer, bytes: number, parameters: ScryptParameters): Promise<Buffer> {
  const { cost, blockSize, parallelization } = parameters
  const options: ScryptOptions = { ...parameters, maxmem: 2 * 128 * blockSize * (cost + parallelization) }
  return new Promise((resolve, reject) => {
    scryptWith(password, salt, bytes, options, (error, key) => (error ? reject(error) : resolve(key)))
  })
}

function describe({ cost, blockSize, parallelization }: ScryptParameters): string {
  return `ln=${Math.log2(cost)},r=${blockSize},p=${parallelization}`
}

function format(prefix: string, salt: Buffer, derived: Buffer): string {
  return `${prefix}${salt.toString('base64url')}$${derived.toString('base64url')}`
}
