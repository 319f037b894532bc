import { expect, test, vi } from 'vitest'
import { createInOrder, formatPlace, type Place, parsePlace } from './live.ts'

const event = (id: number, revision: number) => ({
  id: `${id}-0`,
  type: 'availability',
  data: { available: 100 - revision, revision },
})

function collect(patienceMs?: number) {
  const seen: { available: number; place: Place }[] = []
  const order = createInOrder({ emit: (available, place) => seen.push({ available, place }), patienceMs })
  return { ...order, seen, available: () => seen.map(({ available }) => available) }
}

test('what comes too early is held, and a client that returns then does not miss it', () => {
  const order = collect()
  order.resume({ eventId: '1-0', revision: 1 })
  for (const [id, revision] of [
    [2, 2],
    [3, 4],
    [4, 5],
    [5, 3],
    [6, 6],
  ] as const)
    order.take(event(id, revision))
  expect(order.available()).toEqual([98, 97, 96, 95, 94])
  expect(order.seen.map(({ place }) => place.eventId)).toEqual(['2-0', '2-0', '2-0', '5-0', '6-0'])
})

test('what is lost is waited for a little', async () => {
  const order = collect(20)
  order.resume({ eventId: '1-0', revision: 1 })
  order.take(event(2, 3))
  expect(order.seen).toEqual([])
  await vi.waitFor(() => expect(order.available()).toEqual([97]))
  order.take(event(3, 2))
  order.take(event(4, 4))
  expect(order.available()).toEqual([97, 96])
})

test('a snapshot stands for what it contains, and is sent only if it is news', () => {
  const order = collect()
  order.take(event(5, 3))
  order.take(event(6, 5))
  order.snapshot({ available: 96, revision: 4 }, '5-0')
  expect(order.available()).toEqual([96, 95])
  order.snapshot({ available: 95, revision: 5 })
  expect(order.seen).toHaveLength(2)
})

test('a place survives the way through a header, and nothing else is taken for one', () => {
  const place = { eventId: '1700000000000-3', revision: 7 }
  expect(parsePlace(formatPlace(place))).toEqual(place)
  for (const other of [undefined, '', '1-0', '1-0.x', '-1-0.2', '1-0.2.3', '$'])
    expect(parsePlace(other)).toBeUndefined()
})
