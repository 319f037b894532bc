import { setTimeout as wait } from 'node:timers/promises'
import type { Redis } from 'ioredis'

/** A worker whose clock is off by more plans no ticks. Below it, BullMQ's own tolerance and the way to Redis are lost in the noise. */
export const maxClockOffsetMs = 5000

/**
 * A worker whose clock is off by more takes no jobs. BullMQ plans the next try of a job by the clock of the worker that failed, and the
 * worker that looks takes what is due by its own: with a clock an hour ahead, tries would come an hour late, or all at once.
 */
export const maxTakingOffsetMs = 60_000

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
  /** Called once the first time, and then whenever the offset has crossed one of `bounds`. */
  onChange(offsetMs: number): void
}

const bounds = [maxClockOffsetMs, maxTakingOffsetMs]

/** Compares the clocks from time to time; while Redis is unreachable, the last result stands. */
export function watchClock({ redis, everyMs, onChange }: ClockOptions): { stop(): void } {
  const stopping = new AbortController()
  const watch = async () => {
    for (let was: number | undefined; !stopping.signal.aborted; ) {
      const offset = await clockOffset(redis).catch(() => undefined)
      if (offset !== undefined && !stopping.signal.aborted) {
        const crossed = bounds.filter((bound) => Math.abs(offset) > bound).length
        if (crossed !== was) onChange(Math.round(offset))
        was = crossed
      }
      await wait(offset === undefined ? 500 : everyMs, undefined, { signal: stopping.signal, ref: false }).catch(
        () => undefined,
      )
    }
  }
  void watch()
  return { stop: () => stopping.abort() }
}
