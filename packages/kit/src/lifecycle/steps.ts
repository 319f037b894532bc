import type { Logger } from '../log/log.ts'
import { bounded } from './bounded.ts'
import type { Lifecycle } from './lifecycle.ts'
import type { Composition } from './process.ts'

/** One entry of the list that a process starts from top to bottom and stops from bottom to top. */
export interface Step {
  name: string
  /** Starts it; the next step begins once this resolves. A rejection ends the start of the process. */
  start?(): unknown
  /** Stops it; several, by name, run at once. Called even if `start` was not called or has not resolved: what was created may hold a connection. */
  stop?: (() => unknown) | Record<string, () => unknown>
  /** Longest wait for `stop`, in milliseconds; then the step above is stopped. Without it, `stop` must have a bound of its own. */
  stopMs?: number
  /** Cuts what is left. Called once `stop` has ended or its time is over. */
  cut?(): void
}

/**
 * Starts the steps one after the other, and stops them in the reverse order. If a drain begins meanwhile, no further step
 * starts. `stop` never rejects: a step that fails or takes too long is logged, and the others stop all the same.
 */
export function runSteps(
  steps: Step[],
  options: { lifecycle: Lifecycle; log: Logger },
): Pick<Composition, 'start' | 'stop'> {
  const { lifecycle, log } = options
  return {
    async start() {
      for (const step of steps) {
        if (lifecycle.draining.aborted) return
        await step.start?.()
      }
      lifecycle.started()
    },
    async stop() {
      lifecycle.beginDrain()
      for (const step of steps.toReversed()) await stop(step, log)
    },
  }
}

async function stop({ name: step, stop = {}, stopMs, cut }: Step, log: Logger): Promise<void> {
  const parts = typeof stop === 'function' ? { [step]: stop } : stop
  const running = new Set(Object.keys(parts))
  const works = Object.entries(parts).map(async ([part, end]) => {
    try {
      await end()
    } catch (err) {
      log.warn({ err, step, part }, 'stop failed')
    }
    running.delete(part)
  })
  if (!(await bounded(Promise.all(works), stopMs)))
    log.warn({ step, parts: [...running], stopMs }, 'not stopped in time')
  cut?.()
}
