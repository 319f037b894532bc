import { expect, test, vi } from 'vitest'
import { createInOrder, formatPlace, type InOrderOptions, type Place, parsePlace } from './in-order.ts'

function collect(options: Partial<InOrderOptions> = {}) {
  const seen: { revision: unknown; place: Place }[] = []
  const order = createInOrder({ emit: (revision, place) => seen.push({ revision, place }), ...options })
  return {
    ...order,
    seen,
    take: (id: number, revision: number) => order.take(`${id}-0`, { revision, data: revision }),
    revisions: () => seen.map(({ revision }) => revision),
  }
}

test('what comes too early is held, and a client that comes back then does not miss it', () => {
  const order = collect()
  order.resume({ eventId: '1-0', revision: 1 })
  for (const [id, revision] of [
    [2, 2],
    [3, 4],
    [4, 5],
    [5, 3],
    [6, 6],
  ] as const)
    order.take(id, revision)
  expect(order.revisions()).toEqual([2, 3, 4, 5, 6])
  expect(order.seen.map(({ place }) => place.eventId)).toEqual(['2-0', '2-0', '2-0', '5-0', '6-0'])
})

test('what is lost is waited for a little', async () => {
  const order = collect({ patienceMs: 20 })
  order.resume({ eventId: '1-0', revision: 1 })
  order.take(2, 3)
  expect(order.seen).toEqual([])
  await vi.waitFor(() => expect(order.revisions()).toEqual([3]))
  order.take(3, 2)
  order.take(4, 4)
  expect(order.revisions()).toEqual([3, 4])
})

test('a snapshot stands for what it contains, and is sent only if it is newer', () => {
  const order = collect()
  order.take(5, 3)
  order.take(6, 5)
  order.snapshot({ revision: 4, data: 4 }, '5-0')
  expect(order.revisions()).toEqual([4, 5])
  order.snapshot({ revision: 5, data: 5 })
  expect(order.seen).toHaveLength(2)
})

test('of states without end that wait for a snapshot, the newest are held', () => {
  const order = collect({ maxHeld: 3 })
  for (let revision = 1; revision <= 10; revision++) order.take(revision, revision)
  order.snapshot({ revision: 7, data: 7 }, '7-0')
  expect(order.revisions()).toEqual([7, 8, 9, 10])
  const late = collect({ maxHeld: 3 })
  for (let revision = 1; revision <= 10; revision++) late.take(revision, revision)
  late.resume({ eventId: '0-0', revision: 0 })
  expect(late.revisions()).toEqual([]) // 8 is waited for, as if 1 to 7 were late
  late.stop()
})

test('a place survives the way through a header, and nothing else is taken for one', () => {
  const place = { eventId: '1700000000000-3', revision: 7 }
  expect(parsePlace(formatPlace(place))).toEqual(place)
  for (const other of [undefined, '', '1-0', '1-0.x', '-1-0.2', '1-0.2.3', '$'])
    expect(parsePlace(other)).toBeUndefined()
})
