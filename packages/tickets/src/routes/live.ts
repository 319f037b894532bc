import { kitErrors } from '@escala/kit/errors/errors'
import { type Route, route } from '@escala/kit/http/route'
import type { ApiParts } from '@escala/kit/module'
import { channelOf, createInOrder, formatPlace, parsePlace } from '../live.ts'
import { availabilityEvent, idParams } from '../schemas.ts'
import type { ShowReader } from '../show-reader.ts'
import { readAvailability } from '../shows.ts'

type Parts = Pick<ApiParts, 'postgres' | 'events' | 'streams'>

// Repairs what no event reported: one that was lost between a sale and its announcement.
const askAgainMs = 10_000

export function liveRoutes({ postgres, events, streams }: Parts, shows: ShowReader): Route[] {
  return [
    route({
      method: 'get',
      path: '/v1/shows/:id/live',
      summary: 'The availability, now and after each change: server-sent events of the type `availability`',
      access: 'public',
      params: idParams,
      headers: { 'Last-Event-ID': 'The last event that arrived: what was missed since comes first' },
      responses: { 200: { description: 'Events', schema: availabilityEvent, contentType: 'text/event-stream' } },
      errors: ['E_NOT_FOUND', 'E_REDIS_UNAVAILABLE', 'E_OVERLOADED', 'E_TOO_MANY_CONNECTIONS'],
      async handle({ params, req, res, log }) {
        const { id } = params
        const place = streams.reserve(req, res)
        if ((await shows.availability(id)) === undefined) throw kitErrors.E_NOT_FOUND()
        const from = parsePlace(req.get('last-event-id'))
        let told = (_: string, __: unknown) => {}
        const order = createInOrder({ emit: (available, seen) => told(formatPlace(seen), { available }) })
        let gap = from === undefined
        const snapshot = async (eventId?: string) => {
          const now = await readAvailability(postgres, id)
          if (now) order.snapshot(now, eventId)
        }
        const heal = () => snapshot().catch((err) => log.warn({ err }, 'live stream could not be refreshed'))

        // First the subscription, then the snapshot: a sale between the two is in one of them, or in both.
        let open = false
        const subscription = await events.subscribe(channelOf(id), {
          afterId: from?.eventId,
          onEvent: order.take,
          onGap() {
            gap = true
            if (open) void heal()
          },
        })
        const waiting: [string, unknown][] = []
        told = (id, data) => waiting.push([id, data])
        try {
          if (from && !gap) order.resume(from)
          else await snapshot(subscription.id)
          const stream = place.open()
          open = true
          told = (id, data) => stream.send({ id, type: 'availability', data })
          for (const [id, data] of waiting) told(id, data)
          const timer = setInterval(async () => {
            const now = await shows.availability(id).catch(() => undefined)
            if (now) order.snapshot(now)
          }, askAgainMs)
          const end = () => {
            clearInterval(timer)
            order.stop()
            subscription.stop()
          }
          if (stream.closed.aborted) end()
          else stream.closed.addEventListener('abort', end)
        } catch (error) {
          order.stop()
          subscription.stop()
          throw error
        }
        return undefined
      },
    }),
  ]
}
