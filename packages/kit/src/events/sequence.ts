import type { Logger } from '../log/log.ts'
import type { LiveEvent } from './events.ts'
import { type EventStream, formatMessage, type StreamMessage } from './sse.ts'

export interface Followed {
  /** What is published to: `events.publish(topic, …)`. */
  topic: string
  /** Runs once the stream has a place and before anything is read for it. What it throws is the response: `E_NOT_FOUND`. */
  check?(): Promise<unknown>
}

/** What decides about the events of one stream. */
export interface Sequence {
  /** The last event that the client has, if it has one. */
  afterId: string | undefined
  take(event: LiveEvent): void
  /** Events up to `newestId` are lost. May come at any time, also before `begin`. */
  gap(newestId: string): void
  /** After the subscription, before the response begins. `newestId`: the newest event when the subscription began. */
  begin(newestId: string): Promise<void>
  stop(): void
}

/** Reads of what comes first, while events are lost during each. */
export const maxReads = 3

export const bytesOf = (message: StreamMessage) => Buffer.byteLength(formatMessage(message))

/** Where the events of one stream go: they wait until it is open. */
export interface Outlet {
  log: Logger
  send(message: StreamMessage): void
  /** So that the client connects again. */
  end(): void
  open(stream: EventStream): void
}

export function createOutlet(maxBytes: number, log: Logger): Outlet {
  let stream: EventStream | undefined
  let waiting: StreamMessage[] = []
  let ended = false
  return {
    log,
    send(message) {
      if (stream) stream.send(message)
      else waiting.push(message)
    },
    end() {
      ended = true
      stream?.end()
    },
    open(opened) {
      stream = opened
      const bytes = waiting.reduce((sum, message) => sum + bytesOf(message), 0)
      // Only of states can there be so many: the newest replaces the others.
      for (const message of bytes > maxBytes ? waiting.slice(-1) : waiting) stream.send(message)
      waiting = []
      if (ended) stream.end()
    },
  }
}

/** The client comes back with the last event that it has, and the gap is found again. */
export function endToRestart(outlet: Outlet, err: unknown) {
  outlet.log.warn({ err }, 'event stream ended: what comes first after a gap cannot be read')
  outlet.end()
}
