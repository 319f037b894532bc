import type { Scope } from '../scope.ts'

/** Adds a job at each tick of each schedule, from `start` on. */
export interface Schedules {
  scope: Scope
  /** Resolves when the schedules stand, however long that takes; until `stop`. */
  start(): Promise<void>
  stop(): Promise<void>
}
