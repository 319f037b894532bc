import {
  CircuitState,
  ConsecutiveBreaker,
  circuitBreaker,
  DelegateBackoff,
  handleWhen,
  isBrokenCircuitError,
} from 'cockatiel'
import { kitErrors } from '../errors/errors.ts'
import type { Logger } from '../log/log.ts'
import type { BreakerState, Breakers } from './breaker.ts'

export interface BreakersOptions {
  log: Logger
  /** So many failures in a row open it. */
  failures?: number
  /** How long it stays open at first; doubles with each probe that fails. */
  openMs?: number
  maxOpenMs?: number
}

export function createBreakers({ log, failures = 5, openMs = 2000, maxOpenMs = 30_000 }: BreakersOptions): Breakers {
  const peers = new Map<string, () => BreakerState>()
  return {
    states: () => Object.fromEntries([...peers].map(([peer, state]) => [peer, state()])),
    of(peer, isFailure = () => true) {
      let openUntil = 0
      let refused = 0
      const policy = circuitBreaker(handleWhen(isFailure), {
        breaker: new ConsecutiveBreaker(failures),
        halfOpenAfter: new DelegateBackoff(({ attempt }) => {
          const ms = Math.min(openMs * 2 ** (attempt - 1), maxOpenMs)
          openUntil = Date.now() + ms
          if (attempt === 1) log.warn({ peer, ms }, 'peer is failing, calls to it are held back')
          return ms
        }),
      })
      policy.onReset(() => log.info({ peer }, 'peer is back'))
      peers.set(peer, () => ({ open: policy.state !== CircuitState.Closed, refused }))
      return {
        async run(call) {
          try {
            return await policy.execute(call)
          } catch (error) {
            if (!isBrokenCircuitError(error)) throw error
            refused++
            const retryAfterMs = Math.max(openUntil - Date.now(), 1)
            throw kitErrors.E_PEER_UNAVAILABLE({ detail: `${peer} is failing`, retryAfterMs })
          }
        },
      }
    },
  }
}
