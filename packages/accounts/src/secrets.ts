import { createHash, randomBytes } from 'node:crypto'

/** Returns 256 random bits in 43 letters, digits, dashes and underscores. */
export function newSecret(): string {
  return randomBytes(32).toString('base64url')
}

/** Hashes a secret of `newSecret` for storage. It needs no costly hash: there is nothing to guess. */
export function hashSecret(secret: string): Buffer {
  return createHash('sha256').update(secret).digest()
}
