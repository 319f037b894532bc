import { setTimeout as wait } from 'node:timers/promises'
import type { Cluster } from '@escala/testing/cluster'
import type { Fault, FaultOptions } from './fault.ts'
import { faultGroups } from './faults.ts'
import { createRandom } from './random.ts'
import { emptyRedis } from './server-faults.ts'

interface PlannedFault {
  group: string
  fault: Fault
  /** From the beginning. */
  atMs: number
  forMs: number
  seed: number
}

/** What happened, by the clock of the run. */
export interface FaultEvent {
  group: string
  name: string
  beganMs: number
  /** Everything is as it was before; `undefined` while it is not. */
  endedMs?: number
  /** It could not be made right again: that is a finding. */
  failure?: string
}

export interface NemesisOptions extends FaultOptions {
  seed: number
  forMs: number
  /** Below 1: more often. */
  pace: number
  /** Called when the state Redis is about to lose what it has, and when it has. */
  onRedisLost(): void
  signal: AbortSignal
}

/** The same seed makes the same plan; what it meets differs from run to run. */
function planFaults({ seed, forMs, pace, ...options }: NemesisOptions): PlannedFault[][] {
  const groups = faultGroups(options)
  const plans = groups.map(({ name: group, pause, faults }, index) => {
    const random = createRandom(seed * 1000 + index)
    const plan: PlannedFault[] = []
    let left: Fault[] = []
    let atMs = 1000 * pace * random.between(...pause)
    while (true) {
      // Each once, then each once more: a short run shall not meet the same one five times.
      if (left.length === 0) left = random.shuffled(faults)
      const fault = left.pop() as Fault
      // Now and then for much longer, where there is time for that: beyond what retries, leases and backoff bridge.
      const stretch = random.next() < 0.1 && forMs >= 120_000 ? 6 : 1
      const faultMs = 1000 * stretch * random.between(...fault.seconds)
      if (atMs + faultMs > forMs) return plan
      plan.push({ group, fault, atMs, forMs: faultMs, seed: random.whole(0, 2 ** 31) })
      atMs += faultMs + 1000 * pace * random.between(...pause)
    }
  })
  const redis = plans[groups.findIndex(({ name }) => name === 'redis')]
  const half = redis?.[Math.floor(redis.length / 2)]
  if (options.loseRedis && half) Object.assign(half, { fault: emptyRedis, forMs: 0 })
  return plans
}

export interface Nemesis {
  events: FaultEvent[]
  /** What is wrong at this moment. */
  active(): string[]
  /** Resolves when the plan is done and everything is healed. */
  done: Promise<void>
}

export function startNemesis(cluster: Cluster, options: NemesisOptions): Nemesis {
  const { signal, onRedisLost } = options
  const startedAt = performance.now()
  const now = () => Math.round(performance.now() - startedAt)
  const events: FaultEvent[] = []

  const inflict = async ({ group, fault, forMs, seed }: PlannedFault) => {
    const event: FaultEvent = { group, name: fault.name, beganMs: now() }
    events.push(event)
    const lost = fault === emptyRedis
    if (lost) onRedisLost()
    try {
      const undo = await fault.begin(cluster, createRandom(seed))
      await wait(forMs, undefined, { signal }).catch(() => undefined)
      await undo?.()
    } catch (error) {
      event.failure = error instanceof Error ? error.message : String(error)
    }
    event.endedMs = now()
    if (lost) onRedisLost()
  }
  const follow = async (plan: PlannedFault[]) => {
    for (const planned of plan) {
      await wait(Math.max(0, planned.atMs - now()), undefined, { signal }).catch(() => undefined)
      if (signal.aborted) return
      await inflict(planned)
    }
  }
  return {
    events,
    active: () => events.filter(({ endedMs }) => endedMs === undefined).map(({ name }) => name),
    done: Promise.all(planFaults(options).map(follow)).then(() => undefined),
  }
}
