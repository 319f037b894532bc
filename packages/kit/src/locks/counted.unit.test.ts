import { pino } from 'pino'
import { expect, test } from 'vitest'
import { countLocks } from './counted.ts'
import { createMemoryLocks } from './memory.ts'

const log = pino({ level: 'silent' })

test('a lock is acquired, busy or lost', async () => {
  const locks = countLocks(createMemoryLocks({ log }))
  const lease = await locks.acquire('a', { leaseMs: 10_000 })
  expect(await locks.acquire('a', { leaseMs: 10_000 })).toBeUndefined()
  await lease?.release()
  expect(locks.uses()).toEqual({ acquired: 1, busy: 1, lost: 0, error: 0 })
})
