import { CircuitState, circuitBreaker, DelegateBackoff, handleWhen, isBrokenCircuitError } from 'cockatiel'
import { kitErrors } from '../errors/errors.ts'
import type { Logger } from '../log/log.ts'
import type { Breaker, BreakerCall, BreakerState, Breakers, PeerOptions } from './breaker.ts'
import { createEvidence } from './evidence.ts'

export interface BreakersOptions {
  log: Logger
  /** So many failures of the peer in a row open it. */
  failures?: number
  /** How long it stays open at first; doubles with each probe that fails. */
  openMs?: number
  maxOpenMs?: number
  /** Without any success for so long, and after 20 different failures, it opens although the peer's check succeeds. */
  hopelessMs?: number
}

/** The failure counts against the peer; `cause` is what the caller gets. */
class PeerFailure extends Error {}

/** `begin` said no, or failed with `cause`: nothing is known about the peer. */
class NotAsked extends Error {}

export function createBreakers(options: BreakersOptions): Breakers {
  const peers = new Map<string, () => BreakerState>()
  return {
    states: () => Object.fromEntries([...peers].map(([peer, state]) => [peer, state()])),
    of(peer, peerOptions) {
      const { breaker, state } = createBreaker(peer, options, peerOptions)
      peers.set(peer, state)
      return breaker
    },
  }
}

function createBreaker(peer: string, options: BreakersOptions, { isFailure = () => true, check }: PeerOptions = {}) {
  const { log, failures = 5, openMs = 2000, maxOpenMs = 30_000, hopelessMs } = options
  const evidence = createEvidence({ failures, hopelessMs, check })
  let openings = 0
  let openUntil = 0
  let durationMs = 0
  let refused = 0
  const isProbing = () => policy.state === CircuitState.HalfOpen
  const isOpen = () => policy.state !== CircuitState.Closed
  const policy = circuitBreaker(
    // A probe that called nothing must not close the breaker; while the breaker is closed, it does not count.
    handleWhen((error) => error instanceof PeerFailure || (error instanceof NotAsked && isProbing())),
    {
      breaker: evidence.breaker,
      halfOpenAfter: new DelegateBackoff(({ result }) => {
        const asked = !('error' in result && result.error instanceof NotAsked)
        if (asked) durationMs = Math.min(openMs * 2 ** Math.min(openings++, 20), maxOpenMs)
        const ms = asked ? durationMs : 0 // the next call is the probe
        openUntil = Date.now() + ms
        if (asked && openings === 1) log.warn({ peer, ms }, 'peer is failing, calls to it are held back')
        return ms
      }),
    },
  )
  policy.onReset(() => {
    openings = 0
    evidence.reset()
    log.info({ peer }, 'peer recovered')
  })

  const hold = () => {
    refused++
    const retryAfterMs = Math.max(openUntil - Date.now(), 1)
    return kitErrors.E_PEER_UNAVAILABLE({ detail: `${peer} is failing`, retryAfterMs })
  }

  /** While the breaker is open: asks the peer itself, where that is possible and means something. */
  const probe = async (isFirst: boolean) => {
    if (evidence.isCheckTelling()) {
      await policy.execute(async () => {
        if (!(await evidence.isAlive({ now: true }))) throw new PeerFailure(`${peer} is failing`)
      })
    } else if (!isFirst && Date.now() < openUntil + durationMs) {
      throw hold() // leaves it to a call that has not failed before, if one comes
    }
  }

  const attempt = async <T>(call: () => Promise<T>, { isFirst = true, begin }: BreakerCall) => {
    if (begin) {
      const goes = await begin().catch((cause) => {
        throw new NotAsked('not asked', { cause })
      })
      if (!goes) throw new NotAsked('not asked')
    }
    try {
      const result = await call()
      evidence.success()
      return result
    } catch (error) {
      const counts = isFailure(error as Error) && (isProbing() || (await evidence.isPeersFault(isFirst)))
      throw counts ? new PeerFailure(`${peer} is failing`, { cause: error }) : error
    }
  }

  const breaker = {
    async run<T>(call: () => Promise<T>, options: BreakerCall = {}) {
      try {
        if (isOpen()) await probe(options.isFirst ?? true)
        return await policy.execute(() => attempt(call, options))
      } catch (error) {
        if (isBrokenCircuitError(error)) throw hold()
        if (error instanceof NotAsked && error.cause === undefined) return undefined
        if (error instanceof PeerFailure && error.cause === undefined) throw hold()
        throw error instanceof NotAsked || error instanceof PeerFailure ? error.cause : error
      }
    },
  } as Breaker
  return { breaker, state: () => ({ open: isOpen(), refused }) }
}
