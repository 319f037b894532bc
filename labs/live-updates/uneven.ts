import { setTimeout as wait } from 'node:timers/promises'
import { createRedisEvents } from '@escala/kit/events/redis'
import type { Parts } from '../../apps/api/src/parts.ts'

/** The kit's events, with announcements that take now 0 and now 40 ms: what was sold later is often announced earlier. */
export const apiParts: Partial<Parts> = {
  events: ({ redis, reader, log }) => {
    const events = createRedisEvents({ redis, reader, log })
    return {
      ...events,
      async publish(channel, event) {
        await wait(Math.random() * 40)
        return await events.publish(channel, event)
      },
    }
  },
}
