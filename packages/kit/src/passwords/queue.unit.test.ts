import { expect, test } from 'vitest'
import { createQueue } from './queue.ts'

test('work that fails at once makes no room for more that waits', async () => {
  const queue = createQueue({ maxConcurrent: 1, maxWaitMs: 100, firstCostMs: 50 }) // two may wait
  await expect(queue(() => Promise.reject(new Error('at once')))).rejects.toThrow('at once')
  const end = Promise.withResolvers<void>()
  const accepted = [1, 2, 3].map(() => queue(() => end.promise))
  await expect(queue(() => end.promise)).rejects.toMatchObject({ code: 'E_OVERLOADED' })
  end.resolve()
  await Promise.all(accepted)
})
