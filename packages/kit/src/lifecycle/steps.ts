import type { Logger } from '../log/log.ts'
import { bounded } from './bounded.ts'
import type { Lifecycle } from './lifecycle.ts'
import type { Composition } from './process.ts'

/** One line of the list that a process starts downwards and stops upwards. */
export interface Step {
  name: string
  /** The next step begins when it resolves. */
  start?(): unknown
  /** Called even if `start` was not, or is still under way: what was created may hold a connection. Several run at once, by name. */
  stop?: (() => unknown) | Record<string, () => unknown>
  /** Longest wait for `stop`; then the step above is stopped. Without it, `stop` bounds itself. */
  stopMs?: number
  /** Called after `stop` has ended or its time is over: cuts what is left. */
  cut?(): void
}

/**
 * Starts the steps one after the other, and stops them in the reverse order. A drain that begins meanwhile keeps the next step from
 * starting. `stop` never rejects: a step that fails or takes too long is logged, and does not keep the others from stopping.
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
