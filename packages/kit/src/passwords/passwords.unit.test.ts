import { setImmediate as nextTurn } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { argon2id } from './argon2id.ts'
import type { PasswordForm } from './form.ts'
import { createPasswords } from './passwords.ts'
import { scrypt } from './scrypt.ts'

const cheap = {
  argon2id: argon2id({ memory: 64, passes: 1 }),
  scrypt: scrypt({ cost: 2 ** 8, blockSize: 8, parallelization: 1 }),
}
const older = () => createPasswords({ forms: cheap, mayWriteArgon2id: () => false })

test("hashes with argon2id at OWASP's parameters", async () => {
  const passwords = createPasswords()
  const hash = await passwords.hash('correct horse')
  expect(hash).toMatch(/^\$argon2id\$v=19\$m=19456,t=2,p=1\$[\w+/]{22}\$[\w+/]{43}$/)
  expect(await passwords.verify('correct horse', hash)).toBe(true)
  expect(await passwords.verify('wrong horse', hash)).toBe(false)
  expect(await passwords.hash('correct horse')).not.toBe(hash)
})

test("without argon2id, hashes with scrypt at OWASP's parameters", async () => {
  const passwords = createPasswords({ mayWriteArgon2id: () => false })
  const hash = await passwords.hash('correct horse')
  expect(hash).toMatch(/^\$scrypt\$ln=15,r=8,p=3\$/)
  expect(await passwords.verify('correct horse', hash)).toBe(true)
  expect(await passwords.verify('wrong horse', hash)).toBe(false)
})

test('verifies a hash of the reference implementation', async () => {
  const known = '$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc'
  expect(await createPasswords().verify('password', known)).toBe(true)
  expect(await createPasswords().verify('passwort', known)).toBe(false)
})

test('hashes of every form and with older parameters verify, and are outdated', async () => {
  const passwords = createPasswords({ forms: cheap })
  const version1 = '$scrypt$ln=14,r=8,p=1$'
  const hashes = [
    await scrypt({ cost: 2 ** 14, blockSize: 8, parallelization: 1 }).hash('correct horse'),
    await older().hash('correct horse'),
    await argon2id({ memory: 32, passes: 1 }).hash('correct horse'),
  ]
  expect(hashes[0]).toContain(version1)
  for (const hash of hashes) {
    expect(await passwords.verify('correct horse', hash)).toBe(true)
    expect(await passwords.verify('wrong horse', hash)).toBe(false)
    expect(passwords.isOutdated(hash)).toBe(true)
  }
  expect(passwords.isOutdated(await passwords.hash('correct horse'))).toBe(false)
  // Beside replicas of an older version nothing is renewed to a form that they cannot verify.
  expect(older().isOutdated(hashes[1] as string)).toBe(false)
  expect(older().isOutdated(hashes[0] as string)).toBe(true)
})

test('for a user who does not exist it works as long, and says no', async () => {
  const passwords = createPasswords()
  const hash = await passwords.hash('correct horse')
  const time = async (stored: string | undefined) => {
    const began = process.cpuUsage()
    expect(await passwords.verify('wrong horse', stored)).toBe(false)
    return process.cpuUsage(began).user
  }
  await time(hash)
  const [known, unknown] = [await time(hash), await time(undefined)]
  expect(unknown).toBeGreaterThan(known / 4)
})

test('the event loop goes on while it hashes', async () => {
  const passwords = createPasswords()
  let turns = 0
  const timer = setInterval(() => turns++, 1)
  await passwords.hash('correct horse')
  clearInterval(timer)
  expect(turns).toBeGreaterThan(3)
})

test('one letter typed in two ways is one password', async () => {
  const passwords = createPasswords({ forms: cheap })
  expect(await passwords.verify('caf\u0065\u0301 au lait', await passwords.hash('caf\u00e9 au lait'))).toBe(true)
})

/** A form whose hashes end when the test says so. */
function held() {
  const ends: (() => void)[] = []
  let most = 0
  let running = 0
  const form: PasswordForm = {
    ...cheap.scrypt,
    async hash(password) {
      most = Math.max(most, ++running)
      await new Promise<void>((resolve) => ends.push(resolve))
      running--
      return password
    },
  }
  return { forms: { argon2id: undefined, scrypt: form }, ends, most: () => most, begun: () => ends.length }
}

test('two at a time; more than a second of work may not wait', async () => {
  const { forms, ends, most, begun } = held()
  const passwords = createPasswords({ forms, maxWaitMs: 100 }) // 50 ms each until some have been measured
  const hashes = Array.from({ length: 8 }, (_, i) => passwords.hash(String(i)))
  const settled = Promise.allSettled(hashes)
  for (let done = 0; done < 6; done++) {
    while (begun() <= done) await nextTurn()
    ends[done]?.()
  }
  const results = await settled
  expect(results.map(({ status }) => status)).toEqual([...Array(6).fill('fulfilled'), ...Array(2).fill('rejected')])
  for (const result of results) {
    if (result.status === 'rejected') expect(result.reason).toMatchObject({ code: 'E_OVERLOADED', retryAfterMs: 100 })
  }
  expect(most()).toBe(2)
})

test('what waits is dropped when its client is gone, and makes room', async () => {
  const { forms, ends, begun } = held()
  const passwords = createPasswords({ forms, maxConcurrent: 1, maxWaitMs: 50 }) // one may wait
  const first = passwords.hash('first')
  const client = new AbortController()
  const gone = passwords.hash('gone', client.signal)
  await expect(passwords.hash('refused')).rejects.toMatchObject({ code: 'E_OVERLOADED' })
  client.abort()
  await expect(gone).rejects.toMatchObject({ code: 'E_TIMEOUT' })
  const second = passwords.hash('second')
  ends[0]?.()
  expect(await first).toBe('first')
  while (begun() < 2) await nextTurn()
  ends[1]?.()
  expect(await second).toBe('second')
  expect(begun()).toBe(2)
  await expect(passwords.hash('late', AbortSignal.abort())).rejects.toMatchObject({ code: 'E_TIMEOUT' })
})
