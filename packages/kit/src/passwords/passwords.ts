import { argon2id, hasArgon2 } from './argon2id.ts'
import type { PasswordForm } from './form.ts'
import { createQueue, type HashClient } from './queue.ts'
import { scrypt } from './scrypt.ts'

export interface Passwords {
  /**
   * Throws `E_OVERLOADED` (503) when a second of work is waiting already. `client`s take turns, so that the many attempts
   * of one hold up nobody else for long.
   */
  hash(password: string, signal?: AbortSignal, client?: HashClient): Promise<string>
  /**
   * Takes as long for a user who does not exist (`undefined`) as for a wrong password of one whose hash `isOutdated` does not
   * name, and returns `false`.
   * Throws `E_OVERLOADED` like `hash`.
   */
  verify(password: string, hash: string | undefined, signal?: AbortSignal, client?: HashClient): Promise<boolean>
  /** Returns whether `hash` would write something better than this: the password is hashed again at the next log-in. */
  isOutdated(hash: string): boolean
}

export interface PasswordOptions {
  /**
   * Whether argon2id may be written. Until then scrypt is: replicas of older versions, which may still be running, verify
   * nothing else. Default: always. Without `crypto.argon2` (Node before 24.7) it is scrypt in any case.
   */
  mayWriteArgon2id?: () => boolean
  /** Hashes at a time: each takes one thread of the four that file access and name lookups use too. Default: 2. */
  maxConcurrent?: number
  /** Work that may wait, in milliseconds. Default: one second. */
  maxWaitMs?: number
  forms?: { argon2id: PasswordForm | undefined; scrypt: PasswordForm }
}

/**
 * Hashes on the thread pool, so that the event loop goes on. What waits is dropped when its signal is aborted: for a client
 * that is gone, and for a request that has been answered, nothing is computed.
 */
export function createPasswords(options: PasswordOptions = {}): Passwords {
  const { mayWriteArgon2id = () => true, maxConcurrent = 2, maxWaitMs = 1000 } = options
  const { forms = { argon2id: hasArgon2 ? argon2id() : undefined, scrypt: scrypt() } } = options
  const queue = createQueue({ maxConcurrent, maxWaitMs, firstCostMs: 50 })
  const written = () => (forms.argon2id && mayWriteArgon2id() ? forms.argon2id : forms.scrypt)
  const decoys = new Map([forms.argon2id, forms.scrypt].map((form) => [form, form?.decoy()]))

  return {
    hash: (password, signal, client) => queue(() => written().hash(normalize(password)), signal, client),
    verify(password, hash, signal, client) {
      return queue(
        async () => {
          const compared = hash ?? decoys.get(written()) ?? ''
          const form = [forms.argon2id, forms.scrypt].find((form) => form?.matches(compared))
          if (form === undefined) throw new Error('a stored password hash has an unknown form')
          return (await form.verify(normalize(password), compared)) && hash !== undefined
        },
        signal,
        client,
      )
    },
    isOutdated: (hash) => !written().isCurrent(hash),
  }
}

/** Two ways to type one letter (é, or e and an accent) are one password. */
function normalize(password: string): string {
  return password.normalize('NFC')
}
