import type { Scope } from '../scope.ts'

export interface LiveEvent {
  /** Grows within its channel: `<ms>-<number>`. */
  id: string
  type: string
  data: unknown
}

export interface SubscribeOptions {
  /** Everything after this event comes first: the last one that the client has. Without it, only what is new. */
  afterId?: string
  /** In order, each event once. Must not wait. */
  onEvent(event: LiveEvent): void
  /** Events were missed that are kept no longer: start again from a snapshot. What is newer than `newestId` follows. */
  onGap(newestId: string): void
}

export interface Subscription {
  /** The newest event when it began: a snapshot read from now on has it, and everything before. */
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

/** Whether a history from `first` to `last` lacks something that came after `id`. */
export function hasGap(id: string, first: string | undefined, last: string | undefined): boolean {
  return first === undefined || last === undefined || isAfter(first, id) || isAfter(id, last)
}
