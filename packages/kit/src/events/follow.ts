import type { Request, Response } from 'express'
import type { Events } from './events.ts'
import { type FollowOptions, followEvents } from './follow-events.ts'
import { type FollowStateOptions, followOneState } from './follow-state.ts'
import { createOutlet, type Followed, type Outlet, type Sequence } from './sequence.ts'
import type { EventStreams } from './sse.ts'

export type { FollowOptions, FollowStateOptions }

export interface StreamContext {
  req: Request
  res: Response
}

/** Streams of events that someone publishes. A route returns what these return. They throw what `subscribe` and `reserve` throw. */
export interface Streams extends EventStreams {
  /** Every event, in the order in which they were published, each once; those that a client missed come first. */
  follow(context: StreamContext, options: FollowOptions): Promise<undefined>
  /**
   * The newest state of one thing. States are sent in the order of their revisions, never an older one after a newer one, however
   * their announcements overtook each other.
   */
  followState(context: StreamContext, options: FollowStateOptions): Promise<undefined>
}

/**
 * Bounds what waits until a stream is open: events since the subscription, and what its client missed. All of it must fit into
 * what a client may leave unread (`maxBufferedBytes`), or a client with much to catch up on would be cut off each time.
 */
const defaultMaxHeldBytes = 192 * 1024

export function createStreams(
  streams: EventStreams,
  events: Pick<Events, 'subscribe'>,
  { maxHeldBytes = defaultMaxHeldBytes } = {},
): Streams {
  const run = async ({ req, res }: StreamContext, { topic, check }: Followed, create: (outlet: Outlet) => Sequence) => {
    const place = streams.reserve(req, res)
    await check?.()
    const outlet = createOutlet(maxHeldBytes, req.log)
    const sequence = create(outlet)
    // First the subscription, then what comes first: an event between the two is in one of them, or in both.
    const subscription = await events.subscribe(topic, {
      afterId: sequence.afterId,
      onEvent(event) {
        try {
          sequence.take(event)
        } catch (err) {
          req.log.error({ err, topic, eventId: event.id }, 'an event cannot be shown')
        }
      },
      onGap: sequence.gap,
    })
    const stop = () => {
      sequence.stop()
      subscription.stop()
    }
    try {
      await sequence.begin(subscription.id)
      const stream = place.open()
      outlet.open(stream)
      if (stream.closed.aborted) stop()
      else stream.closed.addEventListener('abort', stop)
    } catch (error) {
      stop()
      throw error
    }
    return undefined
  }
  return {
    ...streams,
    follow: (context, options) =>
      run(context, options, (outlet) => followEvents(options, lastIdOf(context), outlet, maxHeldBytes)),
    followState: (context, options) =>
      run(context, options, (outlet) => followOneState(options, lastIdOf(context), outlet)),
  }
}

const lastIdOf = ({ req }: StreamContext) => req.get('last-event-id')
