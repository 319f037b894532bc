import { AsyncLocalStorage } from 'node:async_hooks'
import { expect, test } from 'vitest'
import { coalesce } from './coalesce.ts'

interface Item {
  lane: string
  name: string
  signal?: AbortSignal
}

const never = new AbortController().signal

/** Every call of `alone` and `together` waits until it is let go. */
function setUp({ most, onCall }: { most?: number; onCall?(): void } = {}) {
  const calls: { names: string[]; letGo(): void; fail(error: Error): void }[] = []
  const call = <Result>(names: string[], result: Result) =>
    new Promise<Result>((resolve, reject) => {
      onCall?.()
      calls.push({ names, letGo: () => resolve(result), fail: reject })
    })
  const handle = coalesce<Item, string>({
    lane: ({ lane }) => lane,
    identity: ({ name }) => name,
    signal: ({ signal }) => signal ?? never,
    isOutage: (error) => (error as Error).message === 'outage',
    alone: ({ name }) => call([name], `${name} alone`),
    together: (items) =>
      call(
        items.map(({ name }) => name),
        items.map(({ name }) => ({ status: 'fulfilled', value: `${name} of ${items.length}` })),
      ),
    most,
  })
  const started = () => calls.map(({ names }) => names.join(' '))
  /** Lets everything happen that waits for nothing but a turn of the event loop. */
  const settle = async () => {
    for (let turns = 0; turns < 3; turns++) await new Promise(setImmediate)
  }
  return { calls, handle, started, settle }
}

test('a lone item goes alone; what comes meanwhile goes together after it', async () => {
  const { calls, handle, started, settle } = setUp()
  const first = handle({ lane: 'x', name: 'a' })
  await settle()
  const more = ['b', 'c', 'd'].map((name) => handle({ lane: 'x', name }))
  expect(started()).toEqual(['a'])
  calls[0]?.letGo()
  expect(await first).toBe('a alone')
  await settle()
  const late = handle({ lane: 'x', name: 'e' })
  expect(started()).toEqual(['a', 'b c d'])
  calls[1]?.letGo()
  expect(await Promise.all(more)).toEqual(['b of 3', 'c of 3', 'd of 3'])
  await settle()
  calls[2]?.letGo()
  expect(await late).toBe('e alone')
})

test('what comes in one turn of the event loop goes together, also when it was caused in that turn', async () => {
  const { calls, handle, started, settle } = setUp()
  const together = ['a', 'b'].map((name) => handle({ lane: 'x', name }))
  await settle()
  expect(started()).toEqual(['a b'])
  for (const [at, name] of ['c', 'd'].entries()) void together[at]?.then(() => handle({ lane: 'x', name }))
  calls[0]?.letGo()
  await settle()
  expect(started()).toEqual(['a b', 'c d'])
})

test('a batch belongs to the request of its first item, not to the one that found the lane idle', async () => {
  const request = new AsyncLocalStorage<string>()
  const seen: (string | undefined)[] = []
  const { calls, handle, settle } = setUp({ onCall: () => seen.push(request.getStore()) })
  for (const name of ['a', 'b', 'c']) {
    request.run(name, () => void handle({ lane: 'x', name }))
    await settle()
  }
  calls[0]?.letGo()
  await settle()
  expect(seen).toEqual(['a', 'b'])
})

test('lanes do not wait for each other', async () => {
  const { handle, started, settle } = setUp()
  void handle({ lane: 'x', name: 'a' })
  void handle({ lane: 'y', name: 'b' })
  await settle()
  expect(started()).toEqual(['a', 'b'])
})

test('an idle lane begins again', async () => {
  const { calls, handle, started, settle } = setUp()
  const first = handle({ lane: 'x', name: 'a' })
  await settle()
  calls[0]?.letGo()
  await first
  await settle()
  void handle({ lane: 'x', name: 'b' })
  await settle()
  expect(started()).toEqual(['a', 'b'])
})

test('two with one identity are never together', async () => {
  const { calls, handle, started, settle } = setUp()
  void handle({ lane: 'x', name: 'a' })
  await settle()
  for (const name of ['b', 'b', 'c']) void handle({ lane: 'x', name })
  calls[0]?.letGo()
  await settle()
  expect(started()).toEqual(['a', 'b c'])
  calls[1]?.letGo()
  await settle()
  expect(started()).toEqual(['a', 'b c', 'b'])
})

test('no more than so many go together', async () => {
  const { calls, handle, started, settle } = setUp({ most: 2 })
  for (const name of ['a', 'b', 'c']) void handle({ lane: 'x', name })
  await settle()
  expect(started()).toEqual(['a b'])
  calls[0]?.letGo()
  await settle()
  expect(started()).toEqual(['a b', 'c'])
})

test('an item whose caller has gone never begins', async () => {
  const { calls, handle, started, settle } = setUp()
  const gone = new AbortController()
  void handle({ lane: 'x', name: 'a' })
  await settle()
  const dropped = handle({ lane: 'x', name: 'b', signal: gone.signal })
  gone.abort(new Error('gone'))
  calls[0]?.letGo()
  await expect(dropped).rejects.toThrow('gone')
  await settle()
  expect(started()).toEqual(['a'])
})

test('a batch that fails fails each of its items, and no later one', async () => {
  const { calls, handle, started, settle } = setUp()
  void handle({ lane: 'x', name: 'a' })
  await settle()
  const failed = ['b', 'c'].map((name) => handle({ lane: 'x', name }))
  calls[0]?.letGo()
  await settle()
  const later = handle({ lane: 'x', name: 'd' })
  calls[1]?.fail(new Error('broken'))
  for (const one of await Promise.allSettled(failed)) expect(one).toMatchObject({ reason: { message: 'broken' } })
  await settle()
  expect(started()).toEqual(['a', 'b c', 'd'])
  calls[2]?.letGo()
  expect(await later).toBe('d alone')
})

test('an outage ends everything that waits in its lane, at once', async () => {
  const { calls, handle, started, settle } = setUp()
  const all = [handle({ lane: 'x', name: 'a' })]
  void handle({ lane: 'y', name: 'd' })
  await settle()
  for (const name of ['b', 'c']) all.push(handle({ lane: 'x', name }))
  calls[0]?.fail(new Error('outage'))
  for (const one of await Promise.allSettled(all)) expect(one).toMatchObject({ reason: { message: 'outage' } })
  await settle()
  expect(started()).toEqual(['a', 'd'])
  void handle({ lane: 'x', name: 'e' })
  await settle()
  expect(started()).toEqual(['a', 'd', 'e'])
})
