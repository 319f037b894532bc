import { setTimeout as wait } from 'node:timers/promises'
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

/** One piece of work at a time, four that wait. The first one holds up all that is sent, until `end`. */
function heldQueue() {
  const queue = createQueue({ maxConcurrent: 1, maxWaitMs: 200, firstCostMs: 50 })
  const first = Promise.withResolvers<void>()
  const order: string[] = []
  const results: Promise<string>[] = [queue(() => first.promise).then(() => 'first')]
  const send = (name: string, from: string, isKnown = false) => {
    const work = async () => {
      order.push(name)
      throw new Error('done') // what fails is not measured: there are four places to the end
    }
    const told = (error: { code?: string; message: string }) => error.code ?? error.message
    results.push(queue(work, undefined, { from, isKnown }).then(() => '', told))
  }
  return {
    send,
    order,
    async end() {
      first.resolve()
      return (await Promise.all(results)).slice(1)
    },
  }
}

test('clients take turns, and the one that has most waiting gives up places for others', async () => {
  const { send, order, end } = heldQueue()
  for (const name of ['a1', 'a2', 'a3', 'a4', 'a5']) send(name, 'a')
  send('b1', 'b')
  send('c1', 'c')
  send('a6', 'a')
  send('d1', 'd')
  send('e1', 'e') // no address has more than one
  const over = 'E_OVERLOADED'
  expect(await end()).toEqual(['done', over, over, over, over, 'done', 'done', over, 'done', over])
  expect(order).toEqual(['a1', 'b1', 'c1', 'd1'])
})

test('an address that had little work lately gets a place among those that had much, and every other turn', async () => {
  const queue = createQueue({ maxConcurrent: 1, maxWaitMs: 200, firstCostMs: 50, maxRestMs: 0 })
  const order: string[] = []
  const send = (from: string, until: Promise<void> = Promise.resolve()) =>
    queue(
      async () => {
        order.push(from)
        await until
        throw new Error('done') // what fails is not measured: there are four places to the end
      },
      undefined,
      { from, isKnown: false },
    ).catch((error: { code?: string; message: string }) => error.code ?? error.message)
  for (const from of ['a', 'b', 'c', 'd', 'a', 'b', 'c', 'd', 'a']) await send(from)
  const end = Promise.withResolvers<void>()
  const atWork = send('at work', end.promise)
  order.splice(0)
  const waiting = ['a', 'b', 'c', 'd', 'new', 'newer'].map((from) => send(from))
  end.resolve()
  await atWork
  expect(await Promise.all(waiting)).toEqual(['E_OVERLOADED', 'E_OVERLOADED', 'done', 'done', 'done', 'done'])
  expect(order.indexOf('new')).toBeLessThan(3)
})

test('strangers, from however many addresses, leave half of the places and turns to known clients', async () => {
  const { send, order, end } = heldQueue()
  for (const from of ['a', 'b', 'c', 'd', 'e']) send(from, from)
  send('known 1', 'home', true)
  send('known 2', 'work', true)
  send('known 3', 'train', true) // half are theirs
  send('f', 'f')
  const over = 'E_OVERLOADED'
  expect(await end()).toEqual(['done', 'done', over, over, over, 'done', 'done', over, over])
  expect(order).toEqual(['a', 'known 1', 'b', 'known 2'])
})

test('known clients leave the same to strangers', async () => {
  const { send, order, end } = heldQueue()
  for (const from of ['a', 'b', 'c', 'd']) send(from, from, true)
  send('stranger', 'z')
  expect(await end()).toEqual(['done', 'done', 'done', 'E_OVERLOADED', 'done'])
  expect(order).toEqual(['stranger', 'a', 'b', 'c'])
})

test('nothing waits for longer than its time, however slowly the machine works', async () => {
  const queue = createQueue({ maxConcurrent: 1, maxWaitMs: 200, firstCostMs: 50, maxStayMs: 20, maxRestMs: 0 })
  const end = Promise.withResolvers<void>()
  const atWork = queue(() => end.promise)
  await expect(queue(async () => undefined)).rejects.toMatchObject({ code: 'E_OVERLOADED' })
  end.resolve()
  await atWork
  await queue(async () => undefined) // its place is free
})

test('a place rests for as long as its work was held up, at most for `maxRestMs`', async () => {
  const queue = createQueue({ maxConcurrent: 1, maxWaitMs: 200, firstCostMs: 50, maxRestMs: 200 })
  const endedAt: number[] = []
  // Waits, and needs no processor: what a hash looks like where it gets none.
  const heldUp = (ms: number) =>
    queue(async () => {
      await wait(ms)
      endedAt.push(performance.now())
    })
  await Promise.all([heldUp(100), heldUp(1), heldUp(1000)])
  const [first = 0, second = 0] = endedAt
  expect(second - first).toBeGreaterThan(50)
  const nextAt = await queue(async () => performance.now())
  const rested = nextAt - (endedAt[2] ?? 0)
  expect(rested).toBeGreaterThan(195)
})
