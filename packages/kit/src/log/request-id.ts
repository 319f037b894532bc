import { AsyncLocalStorage } from 'node:async_hooks'
import type { Logger } from './log.ts'

// What is called for a request cannot see another's: this holds nothing of its own between them.
const scope = new AsyncLocalStorage<string>()

/** Everything that `work` calls can ask for the id, without being given it. For lines of the level debug: above it, it costs nothing. */
export function withRequestId<T>(log: Logger, id: string | undefined, work: () => T): T {
  return id !== undefined && log.isLevelEnabled('debug') ? scope.run(id, work) : work()
}

/** The request or job that this is done for, where the level is debug. */
export function currentRequestId(): string | undefined {
  return scope.getStore()
}
