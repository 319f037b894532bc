import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import type { Events, LiveEvent } from './events.ts'

/** What one client sees. */
export async function listen(events: Events, channel: string, afterId?: string) {
  const seen: LiveEvent[] = []
  let gaps = 0
  const subscription = await events.subscribe(channel, {
    afterId,
    onEvent: (event) => seen.push(event),
    onGap: () => gaps++,
  })
  return { ...subscription, seen, gaps: () => gaps, numbers: () => seen.map(({ data }) => data) }
}

export const upTo = (count: number, from = 1) => Array.from({ length: count }, (_, i) => i + from)

/** What every adapter keeps. `create` is given how many events a channel keeps. */
export function describeEvents(name: string, create: (maxHistory: number) => Promise<Events>): void {
  describe(`events: ${name}`, () => {
    let events: Events
    beforeAll(async () => {
      events = await create(10)
    })
    afterAll(() => events.stop())

    const publish = async (channel: string, count: number, from = 1) => {
      const ids: string[] = []
      for (const n of upTo(count, from)) ids.push(await events.publish(channel, { type: 'n', data: n }))
      return ids
    }

    test('a subscriber gets what is new on its topic, in order, and others get nothing of it', async () => {
      const [channel, other] = [randomUUID(), randomUUID()]
      await publish(channel, 1)
      const [one, two, three] = [
        await listen(events, channel),
        await listen(events, channel),
        await listen(events, other),
      ]
      const ids = await publish(channel, 20, 2)
      await vi.waitFor(() => expect(one.numbers()).toEqual(upTo(20, 2)))
      await vi.waitFor(() => expect(two.numbers()).toEqual(upTo(20, 2)))
      expect(one.seen.map(({ id }) => id)).toEqual(ids)
      expect(one.seen[0]?.type).toBe('n')
      expect(three.seen).toEqual([])
    })

    test('after an id comes what was missed, then what is new', async () => {
      const channel = randomUUID()
      const ids = await publish(channel, 5)
      const back = await listen(events, channel, ids[1])
      await publish(channel, 2, 6)
      await vi.waitFor(() => expect(back.numbers()).toEqual(upTo(5, 3)))
      expect(back.gaps()).toBe(0)
    })

    test('after the newest id comes only what is new', async () => {
      const channel = randomUUID()
      const ids = await publish(channel, 3)
      const back = await listen(events, channel, ids.at(-1))
      await publish(channel, 1, 4)
      await vi.waitFor(() => expect(back.numbers()).toEqual([4]))
      expect(back.gaps()).toBe(0)
    })

    test('an id that is kept no longer is a gap, and what is new follows', async () => {
      const channel = randomUUID()
      const ids = await publish(channel, 300)
      const back = await listen(events, channel, ids[0])
      expect(back.gaps()).toBe(1)
      await publish(channel, 1, 301)
      await vi.waitFor(() => expect(back.numbers()).toEqual([301]))
    })

    test('an id from nowhere is a gap', async () => {
      const channel = randomUUID()
      expect((await listen(events, channel, '1700000000000-0')).gaps()).toBe(1)
      await publish(channel, 1)
      expect((await listen(events, channel, '9999999999999-0')).gaps()).toBe(1)
    })

    test('a subscription names the newest event, and ends', async () => {
      const channel = randomUUID()
      const ids = await publish(channel, 2)
      const [one, two] = [await listen(events, channel), await listen(events, channel)]
      expect(one.id).toBe(ids[1])
      one.stop()
      await publish(channel, 1, 3)
      await vi.waitFor(() => expect(two.numbers()).toEqual([3]))
      expect(one.seen).toEqual([])
    })
  })
}
