import { randomBytes, type ScryptOptions, scrypt, timingSafeEqual } from 'node:crypto'
import { availableParallelism } from 'node:os'
import { kitErrors } from '../errors/errors.ts'

export interface Passwords {
  /** Throws `E_OVERLOADED` (503) when `maxWaiting` others wait already. */
  hash(password: string): Promise<string>
  /**
   * Takes as long for a user who does not exist (`undefined`) as for a wrong password, and answers `false`.
   * Throws `E_OVERLOADED` like `hash`.
   */
  verify(password: string, hash: string | undefined): Promise<boolean>
}

export interface PasswordOptions {
  /** scrypt's N, a power of two. Time and memory grow with it: 2^14 took 55 ms of one core and 16 MB where it was measured. */
  cost?: number
  /** Hashes at a time, 4 at most: each takes one thread of the pool that file access and name lookups use too. */
  maxConcurrent?: number
  /** How many may wait for those. 100 wait some seconds, which is below the request's deadline. */
  maxWaiting?: number
}

interface Parameters {
  cost: number
  blockSize: number
  parallelization: number
}

const saltBytes = 16
const hashBytes = 32

/** scrypt (RFC 7914) on the thread pool: the event loop goes on. The hash names its parameters: `$scrypt$ln=14,r=8,p=1$salt$hash`. */
export function createPasswords(options: PasswordOptions = {}): Passwords {
  const { cost = 2 ** 14, maxConcurrent = Math.min(4, availableParallelism()), maxWaiting = 100 } = options
  const current: Parameters = { cost, blockSize: 8, parallelization: 1 }
  const limited = createQueue(maxConcurrent, maxWaiting)
  const nobody = format(current, randomBytes(saltBytes), randomBytes(hashBytes))

  return {
    hash(password) {
      return limited(async () => {
        const salt = randomBytes(saltBytes)
        return format(current, salt, await derive(password, salt, hashBytes, current))
      })
    },
    verify(password, hash) {
      const stored = parse(hash ?? nobody)
      return limited(async () => {
        const derived = await derive(password, stored.salt, stored.derived.length, stored.parameters)
        return timingSafeEqual(derived, stored.derived) && hash !== undefined
      })
    },
  }
}

function createQueue(maxConcurrent: number, maxWaiting: number) {
  const waiting: (() => void)[] = []
  let running = 0
  return async <T>(work: () => Promise<T>): Promise<T> => {
    if (running >= maxConcurrent) {
      if (waiting.length >= maxWaiting) throw kitErrors.E_OVERLOADED({ retryAfterMs: 2000 })
      await new Promise<void>((resolve) => waiting.push(resolve)) // whoever ends hands its place over
    } else {
      running++
    }
    try {
      return await work()
    } finally {
      const next = waiting.shift()
      if (next) next()
      else running--
    }
  }
}

function derive(password: string, salt: Buffer, bytes: number, parameters: Parameters): Promise<Buffer> {
  const { cost, blockSize } = parameters
  const options: ScryptOptions = { ...parameters, maxmem: 2 * 128 * cost * blockSize }
  return new Promise((resolve, reject) => {
    // Two ways to type one letter (é, or e and an accent) are one password.
    scrypt(password.normalize('NFC'), salt, bytes, options, (error, key) => (error ? reject(error) : resolve(key)))
  })
}

function format({ cost, blockSize, parallelization }: Parameters, salt: Buffer, derived: Buffer): string {
  const parameters = `ln=${Math.log2(cost)},r=${blockSize},p=${parallelization}`
  return `$scrypt$${parameters}$${salt.toString('base64url')}$${derived.toString('base64url')}`
}

function parse(hash: string) {
  const match = /^\$scrypt\$ln=(\d{1,2}),r=(\d{1,2}),p=(\d{1,2})\$([\w-]+)\$([\w-]+)$/.exec(hash)
  if (!match) throw new Error('a stored password hash has an unknown form')
  const [ln, blockSize, parallelization] = match.slice(1, 4).map(Number) as [number, number, number]
  return {
    parameters: { cost: 2 ** ln, blockSize, parallelization },
    salt: Buffer.from(match[4] ?? '', 'base64url'),
    derived: Buffer.from(match[5] ?? '', 'base64url'),
  }
}
