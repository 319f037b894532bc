import { setTimeout as wait } from 'node:timers/promises'
import type { Redis } from 'ioredis'

/** A clock that is off by more is taken for wrong. Below it, BullMQ's own tolerance and the way to Redis are lost in the noise. */
export const maxClockOffsetMs = 5000

/** Redis' clock: the one that all workers share. */
export async function serverMs(redis: Redis): Promise<number> {
  const [seconds, microseconds] = await redis.time()
  return Number(seconds) * 1000 + Number(microseconds) / 1000
}

/** How far this process's clock is ahead of Redis'. Half of the round trip is the uncertainty; it is taken off. */
export async function clockOffset(redis: Redis): Promise<number> {
  const startedAt = Date.now()
  const theirs = await serverMs(redis)
  const endedAt = Date.now()
  const offset = (startedAt + endedAt) / 2 - theirs
  const uncertainty = Math.abs(endedAt - startedAt) / 2
  return Math.sign(offset) * Math.max(0, Math.abs(offset) - uncertainty)
}

export interface ClockOptions {
  redis: Redis
  everyMs: number
  /** Called once the first time, and then on every change. */
  onChange(isRight: boolean, offsetMs: number): void
}

/** Compares the clocks from time to time; while Redis is unreachable, the last result stands. */
export function watchClock({ redis, everyMs, onChange }: ClockOptions): { stop(): void } {
  const stopping = new AbortController()
  const watch = async () => {
    for (let was: boolean | undefined; !stopping.signal.aborted; ) {
      const offset = await clockOffset(redis).catch(() => undefined)
      if (offset !== undefined && !stopping.signal.aborted) {
        const isRight = Math.abs(offset) <= maxClockOffsetMs
        if (isRight !== was) onChange(isRight, Math.round(offset))
        was = isRight
      }
      await wait(offset === undefined ? 500 : everyMs, undefined, { signal: stopping.signal, ref: false }).catch(
        () => undefined,
      )
    }
  }
  void watch()
  return { stop: () => stopping.abort() }
}
