import { connect } from 'node:net'
import { afterEach, expect, test, vi } from 'vitest'
import { kitErrors } from '../errors/errors.ts'
import type { Events, SubscribeOptions } from './events.ts'
import type { FollowOptions } from './follow-events.ts'
import type { FollowStateOptions } from './follow-state.ts'
import type { State } from './in-order.ts'
import { createMemoryEvents } from './memory.ts'
import { startStreams } from './test-streams.ts'

const topic = 'numbers'
const stops: (() => void)[] = []
afterEach(() => {
  for (const stop of stops.splice(0)) stop()
})

/** `subscriptions`: to cause what only a store that loses something causes. */
async function serve(
  options: Partial<FollowOptions> = {},
  limits: Parameters<typeof startStreams>[2] = {},
  maxHistory = 1000,
) {
  const memory = createMemoryEvents({ maxHistory })
  const subscriptions = new Set<SubscribeOptions>()
  const events: Events = {
    ...memory,
    async subscribe(name, given) {
      const subscription = await memory.subscribe(name, given)
      subscriptions.add(given)
      const stop = () => {
        subscriptions.delete(given)
        subscription.stop()
      }
      return { ...subscription, stop }
    },
  }
  const server = await startStreams(
    events,
    (streams, context) => streams.follow(context, { topic, ...options }),
    limits,
  )
  stops.push(server.stop)
  const publish = (...numbers: unknown[]) =>
    Promise.all(numbers.map((data) => events.publish(topic, { type: 'number', data })))
  return { ...server, publish, subscriptions, events }
}
const numbers = (...list: unknown[]) => list.map((data) => ['number', data])

test('what is new comes in order, and a client that comes back gets what it missed', async () => {
  const { get, publish, subscriptions } = await serve()
  await publish(1)
  const client = await get()
  await publish(2, 3)
  await vi.waitFor(() => expect(client.shown()).toEqual(numbers(2, 3)))
  client.stop()
  await vi.waitFor(() => expect(subscriptions.size).toBe(0))
  await publish(4, 5)
  const back = await get(client.lastId())
  await publish(6)
  await vi.waitFor(() => expect(back.shown()).toEqual(numbers(4, 5, 6)))
})

test('a client that got no event yet has a place to come back to', async () => {
  const { get, publish } = await serve()
  await publish(1)
  const client = await get()
  await vi.waitFor(() => expect(client.lastId()).toBeDefined())
  client.stop()
  await publish(2)
  const back = await get(client.lastId())
  await vi.waitFor(() => expect(back.shown()).toEqual(numbers(2)))
})

test('a gap is marked, and what is new follows', async () => {
  const { get, publish } = await serve({}, {}, 3)
  const [lastId] = await publish(1)
  await publish(2, 3, 4, 5, 6)
  for (const id of [lastId, '0-0', 'none of ours']) {
    const back = await get(id)
    await vi.waitFor(() => expect(back.shown()).toEqual([['gap', null]]))
    back.stop()
    const again = await get(back.lastId())
    await publish(7)
    await vi.waitFor(() => expect(again.shown()).toEqual(numbers(7)))
    again.stop()
  }
})

test('a route says what comes first, how an event looks, and what is left out', async () => {
  let total = 10
  const { get, publish } = await serve(
    {
      first: async () => ({ type: 'total', data: total }),
      event: ({ data }) => (data === 0 ? undefined : { type: 'plus', data: { plus: data } }),
    },
    {},
    3,
  )
  const client = await get()
  await publish(0, 1)
  await vi.waitFor(() =>
    expect(client.shown()).toEqual([
      ['total', 10],
      ['plus', { plus: 1 }],
    ]),
  )
  total = 20
  await publish(1, 2, 3, 4, 5)
  client.stop()
  const late = await get(client.received[0]?.id) // the place of what came first
  await vi.waitFor(() => expect(late.shown()).toEqual([['total', 20]]))
})

test('an event that comes while the first one is read follows it', async () => {
  const reading = Promise.withResolvers<void>()
  const begun = Promise.withResolvers<void>()
  const { get, publish } = await serve({
    async first() {
      begun.resolve()
      await reading.promise
      return { type: 'total', data: 1 }
    },
  })
  const client = get()
  await begun.promise
  await publish(2, 3)
  reading.resolve()
  const { shown } = await client
  await vi.waitFor(() => expect(shown()).toEqual([['total', 1], ...numbers(2, 3)]))
})

test('a gap in the middle is marked before anything that follows it', async () => {
  let reads = 0
  const reading = Promise.withResolvers<void>()
  const { get, publish, subscriptions } = await serve({
    async first() {
      if (++reads === 2) await reading.promise
      return { type: 'total', data: reads }
    },
  })
  const client = await get()
  const [id = ''] = await publish(1)
  await vi.waitFor(() => expect(client.shown()).toHaveLength(2))
  for (const { onGap } of subscriptions) onGap(id)
  const [lost = ''] = await publish(2)
  for (const { onGap } of subscriptions) onGap(lost) // another one, while the first event is read again
  await publish(3)
  await vi.waitFor(() => expect(reads).toBe(2))
  expect(client.shown()).toHaveLength(2)
  reading.resolve()
  await vi.waitFor(() =>
    expect(client.shown()).toEqual([
      ['total', 1],
      ['number', 1],
      ['total', 3],
      ['number', 3],
    ]),
  )
  expect(client.received[2]?.id).toBe(lost)
})

test('a stream whose first event cannot be read again ends, and its client finds the gap when it comes back', async () => {
  let fails = false
  const { get, publish, subscriptions } = await serve(
    {
      async first() {
        if (fails) throw kitErrors.E_POSTGRES_UNAVAILABLE()
        return { type: 'total', data: 1 }
      },
    },
    {},
    1,
  )
  const client = await get()
  await publish(1, 2)
  fails = true
  for (const { onGap } of subscriptions) onGap('1-0')
  await vi.waitFor(() => expect(client.ended()).toBe(true))
  expect((await get('1-0')).status).toBe(503)
  fails = false
  expect((await get('1-0')).status).toBe(200)
})

test('more than fits at once is a gap: a client with much to catch up on is not cut off each time', async () => {
  const { get, publish } = await serve({}, { maxHeldBytes: 1000 })
  const [lastId = ''] = await publish(0)
  await publish(...Array.from({ length: 30 }, (_, i) => `${i} ${'x'.repeat(50)}`))
  const back = await get(lastId)
  await vi.waitFor(() => expect(back.shown()[0]).toEqual(['gap', null]))
  await publish('end')
  await vi.waitFor(() => expect(back.shown().at(-1)).toEqual(['number', 'end']))
  expect(back.shown().length).toBeLessThan(20)
})

test('a first event that is too large is an error, and not a stream that is cut off again and again', async () => {
  const { get, subscriptions } = await serve({ first: async () => ({ type: 'x', data: 'x'.repeat(300_000) }) })
  const refused = await get()
  expect([refused.status, await refused.text()]).toEqual([500, 'what comes first has more than 196608 bytes'])
  expect(subscriptions.size).toBe(0)
})

test('an event that cannot be shown costs neither its stream nor others', async () => {
  const { get, publish } = await serve({
    event({ type, data }) {
      if (data === 'bad') throw new Error('of another version')
      return { type, data }
    },
  })
  const clients = [await get(), await get()]
  await publish(1, 'bad', 2)
  for (const { shown } of clients) await vi.waitFor(() => expect(shown()).toEqual(numbers(1, 2)))
})

test('what is refused is refused before anything is read', async () => {
  let reads = 0
  const { get, subscriptions } = await serve(
    {
      async check() {
        reads++
        throw kitErrors.E_NOT_FOUND()
      },
    },
    { maxStreams: 1, maxStreamsPerClient: 1 },
  )
  expect((await get()).status).toBe(404)
  expect((await get()).status).toBe(404) // the place is free again
  expect([reads, subscriptions.size]).toEqual([2, 0])
  const open = await serve({ check: async () => reads++ }, { maxStreams: 1 })
  await open.get()
  expect((await open.get()).status).toBe(503)
  expect([reads, open.subscriptions.size]).toEqual([3, 1])
})

test('HEAD gets the head, and nothing stays behind', async () => {
  const { port, streams, subscriptions } = await serve()
  const response = await fetch(`http://127.0.0.1:${port}/`, { method: 'HEAD' })
  expect([response.status, response.headers.get('content-type')]).toEqual([200, 'text/event-stream; charset=utf-8'])
  expect([streams.count(), subscriptions.size]).toEqual([0, 0])
})

test('a client that reads nothing is cut off, and its subscription ends', async () => {
  const { port, publish, subscriptions } = await serve()
  const client = connect(port, '127.0.0.1')
  client.on('error', () => undefined)
  client.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n')
  client.pause()
  await vi.waitFor(() => expect(subscriptions.size).toBe(1))
  const large = 'x'.repeat(60_000)
  await vi.waitFor(
    async () => {
      await publish(large)
      expect(subscriptions.size).toBe(0)
    },
    { interval: 1, timeout: 10_000 },
  )
  client.destroy()
})

test('a drain ends every stream, and one that begins meanwhile', async () => {
  const { get, drain, streams, subscriptions } = await serve()
  const clients = [await get(), await get()]
  drain.abort()
  for (const { ended } of clients) await vi.waitFor(() => expect(ended()).toBe(true))
  const late = await get()
  await vi.waitFor(() => expect(late.ended()).toBe(true))
  expect([streams.count(), subscriptions.size]).toEqual([0, 0])
})

test('a private stream ends earlier: its client must show again that it may see it', async () => {
  const limits = { maxAgeMs: 600_000, privateAgeMs: 40 }
  const open = await serve({}, { ...limits, isPrivate: () => false })
  const closed = await serve({}, { ...limits, isPrivate: () => true })
  const [stays, ends] = [await open.get(), await closed.get()]
  await vi.waitFor(() => expect(ends.ended()).toBe(true))
  expect(stays.ended()).toBe(false)
})

async function serveState(options: Partial<FollowStateOptions> = {}) {
  const memory = createMemoryEvents({ maxHistory: 3 })
  const subscriptions = new Set<SubscribeOptions>()
  let now: State | undefined = { revision: 1, data: 'one' }
  const server = await startStreams(
    {
      async subscribe(name, given) {
        subscriptions.add(given)
        return memory.subscribe(name, given)
      },
    },
    (streams, context) =>
      streams.followState(context, {
        topic,
        type: 'state',
        read: async () => now,
        state: (data) => data as State,
        ...options,
      }),
  )
  stops.push(server.stop)
  return {
    ...server,
    subscriptions,
    set: (state: State | undefined) => (now = state),
    announce: (revision: number) => memory.publish(topic, { type: 'state', data: { revision, data: `${revision}` } }),
  }
}
const states = (...list: string[]) => list.map((data) => ['state', data])

test('a state comes first, and then each in the order of the revisions', async () => {
  const { get, announce } = await serveState()
  const client = await get()
  for (const revision of [1, 3, 2, 4]) await announce(revision)
  await vi.waitFor(() => expect(client.shown()).toEqual(states('one', '2', '3', '4')))
  client.stop()
  await announce(5)
  const back = await get(client.lastId())
  await vi.waitFor(() => expect(back.shown()).toEqual(states('5')))
})

test('after a gap comes the state as it is, also when it is found while the state is read', async () => {
  const reading = Promise.withResolvers<void>()
  let reads = 0
  const server = await serveState({
    async read() {
      if (++reads === 2) await reading.promise
      return { revision: reads * 10, data: `${reads * 10}` }
    },
  })
  const client = await server.get()
  for (const { onGap } of server.subscriptions) onGap('1-0')
  await vi.waitFor(() => expect(reads).toBe(2))
  for (const { onGap } of server.subscriptions) onGap('2-0')
  reading.resolve()
  await vi.waitFor(() => expect(client.shown()).toEqual(states('10', '20', '30')))
  expect(client.lastId()).toBe('2-0.30')
})

test('a change that was never announced is found by reading again', async () => {
  let revision = 1
  const read = async () => ({ revision, data: `${revision}` })
  const { get } = await serveState({ read, refresh: { everyMs: 20, read } })
  const client = await get()
  revision = 7
  await vi.waitFor(() => expect(client.shown()).toEqual(states('1', '7')))
})

test('a state that cannot be read after a gap ends the stream, unless it is read again anyway', async () => {
  for (const refresh of [undefined, { everyMs: 20, read: async () => ({ revision: 9, data: '9' }) }]) {
    let fails = false
    const { get, subscriptions } = await serveState({
      refresh,
      async read() {
        if (fails) throw kitErrors.E_POSTGRES_UNAVAILABLE()
        return { revision: 1, data: '1' }
      },
    })
    const client = await get()
    fails = true
    for (const { onGap } of subscriptions) onGap('1-0')
    if (refresh) await vi.waitFor(() => expect(client.shown()).toEqual(states('1', '9')))
    else await vi.waitFor(() => expect(client.ended()).toBe(true))
  }
})
