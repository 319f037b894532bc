import type { PeerOptions } from './breaker.ts'

// For so long one answer of the check is good for every failure: a thousand bad calls cost the peer one more request a second.
const freshMs = 1000
// So many different calls, none of which had failed before, make a peer hopeless.
const hopelessCalls = 20

export interface EvidenceOptions extends Pick<PeerOptions, 'check'> {
  failures: number
  hopelessMs?: number
}

/** Distinguishes failures of the peer from failures of single calls. */
export function createEvidence({ failures, hopelessMs = 30_000, check }: EvidenceOptions) {
  let inRow = 0
  let isHopeless = false
  let firstFailures = { count: 0, since: 0 }
  let asked: { endedAt: number | undefined; alive: Promise<boolean> } | undefined

  const reset = () => {
    inRow = 0
    isHopeless = false
    firstFailures = { count: 0, since: 0 }
  }

  /** Whether the check succeeds: one at a time, whose result is good for a second unless `now` is wanted. */
  const isAlive = ({ now = false } = {}): Promise<boolean> => {
    if (!check) return Promise.resolve(false)
    if (asked && (asked.endedAt === undefined || (!now && performance.now() - asked.endedAt < freshMs)))
      return asked.alive
    const alive = check().then(
      () => true,
      () => false,
    )
    const mine: typeof asked = { endedAt: undefined, alive }
    void alive.then(() => {
      mine.endedAt = performance.now()
    })
    asked = mine
    return alive
  }

  return {
    reset,
    isAlive,
    /** Whether the check can say that the peer is back: not where every call failed while it succeeded. */
    isCheckTelling: () => check !== undefined && !isHopeless,
    success() {
      firstFailures = { count: 0, since: 0 }
    },
    /** Whether a call's failure is the peer's: its check fails too, or nothing at all succeeds any more. */
    async isPeersFault(isFirst: boolean): Promise<boolean> {
      if (check && !(await isAlive())) return true
      if (!isFirst || !check) return isFirst
      const now = performance.now()
      firstFailures = { count: firstFailures.count + 1, since: firstFailures.since || now }
      isHopeless ||= firstFailures.count >= hopelessCalls && now - firstFailures.since >= hopelessMs
      return isHopeless
    },
    /** For cockatiel: when to open. */
    breaker: {
      state: undefined as unknown,
      success() {
        inRow = 0
      },
      failure: () => isHopeless || ++inRow >= failures,
    },
  }
}
