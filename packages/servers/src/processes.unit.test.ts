import { createServer } from 'node:net'
import { expect, test, vi } from 'vitest'
import { freePort, freeRange, isAlive, isFree } from './processes.ts'

test('a range skips the ports that are in use', async () => {
  const first = await freeRange(await freePort(), 4)
  const taken = createServer().listen(first + 1, '127.0.0.1')
  await vi.waitFor(() => expect(taken.listening).toBe(true))
  expect(await isFree(first + 1)).toBe(false)
  expect(await freeRange(first, 2)).toBeGreaterThan(first + 1)
  taken.close()
})

test('a free port is given out once', async () => {
  const given = new Set<number>()
  for (let count = 0; count < 400; count++) given.add(await freePort())
  expect(given.size).toBe(400)
})

test('a process that is gone is not alive, this one is', () => {
  expect(isAlive(process.pid)).toBe(true)
  expect(isAlive(2 ** 22 + 1)).toBe(false)
})
