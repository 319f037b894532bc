import type { Scope } from '../scope.ts'

export interface LiveEvent {
  /** Grows within its channel: `<ms>-<number>`. */
  id: string
  type: string
  data: unknown
}

export interface SubscribeOptions {
  /** The last event that the client has: everything after it comes first. Without it, only new events come. */
  afterId?: string
  /** Called for each event once, in order. It must not block. */
  onEvent(event: LiveEvent): void
  /** Called when events were missed that are no longer kept: start again from a snapshot. Events after `newestId` follow. */
  onGap(newestId: string): void
}

export interface Subscription {
  /** The newest event at the start of the subscription: a snapshot that is read from now on contains it and everything before. */
  id: string
  stop(): void
}

export interface EventPublisher {
  /** Resolves with the event's id once it is stored; only losing the store itself can lose it. Throws `E_REDIS_UNAVAILABLE`. */
  publish(channel: string, event: { type: string; data: unknown }): Promise<string>
}

/** Sends events to all current listeners, on every replica; keeps a bounded history for those that reconnect. */
export interface Events extends EventPublisher {
  scope: Scope
  /** Throws `E_REDIS_UNAVAILABLE`. Later interruptions are caught up automatically; if history is gone, `onGap` is called. */
  subscribe(channel: string, options: SubscribeOptions): Promise<Subscription>
  stop(): Promise<void>
}

export function isAfter(id: string, other: string): boolean {
  const [ms = 0, number = 0] = id.split('-').map(Number)
  const [otherMs = 0, otherNumber = 0] = other.split('-').map(Number)
  return ms > otherMs || (ms === otherMs && number > otherNumber)
}

/** Returns whether a history from `first` to `last` lacks an event that came after `id`. */
export function hasGap(id: string, first: string | undefined, last: string | undefined): boolean {
  return first === undefined || last === undefined || isAfter(first, id) || isAfter(id, last)
}
