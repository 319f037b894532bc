import { expect, test } from 'vitest'
import { createPasswords } from './passwords.ts'

const cheap = { cost: 2 ** 10 }

test('verifies what it hashed, and nothing else', async () => {
  const passwords = createPasswords(cheap)
  const hash = await passwords.hash('correct horse')
  expect(hash).toMatch(/^\$scrypt\$ln=10,r=8,p=1\$/)
  expect(await passwords.verify('correct horse', hash)).toBe(true)
  expect(await passwords.verify('wrong horse', hash)).toBe(false)
  expect(await passwords.hash('correct horse')).not.toBe(hash)
})

test('a hash made with other parameters still verifies', async () => {
  const hash = await createPasswords({ cost: 2 ** 8 }).hash('correct horse')
  expect(await createPasswords(cheap).verify('correct horse', hash)).toBe(true)
})

test('for a user who does not exist it works as long, and says no', async () => {
  const passwords = createPasswords({ cost: 2 ** 13 })
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
  const passwords = createPasswords({ cost: 2 ** 15 })
  let turns = 0
  const timer = setInterval(() => turns++, 1)
  await passwords.hash('correct horse')
  clearInterval(timer)
  expect(turns).toBeGreaterThan(3)
})

test('more than may wait are refused at once; the others are done', async () => {
  const passwords = createPasswords({ ...cheap, maxConcurrent: 2, maxWaiting: 3 })
  const results = await Promise.allSettled(Array.from({ length: 8 }, () => passwords.hash('correct horse')))
  const refused = results.filter((result) => result.status === 'rejected')
  expect(refused).toHaveLength(3)
  for (const { reason } of refused) expect(reason).toMatchObject({ code: 'E_OVERLOADED' })
  await expect(passwords.hash('correct horse')).resolves.toBeTypeOf('string')
})

test('one letter typed in two ways is one password', async () => {
  const passwords = createPasswords(cheap)
  expect(await passwords.verify('caf\u0065\u0301 au lait', await passwords.hash('caf\u00e9 au lait'))).toBe(true)
})
