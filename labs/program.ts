import { stopClusters } from '@escala/testing/cluster'
import { stopEnvironment } from '@escala/testing/environment'
import type { Lifetime } from '../infra/local/lifetime.ts'

/** Thrown by a program that was called in a wrong way; its message says how to call it. */
export class UsageError extends Error {}

/**
 * Runs a program that starts clusters, stops them when it ends or is interrupted, and exits: with what `main` resolves to, 2 after a
 * `UsageError`, 1 after any other error, 130 when it was interrupted. `stop`: ends what else it has started.
 */
export async function runProgram(
  lifetime: Lifetime,
  main: () => Promise<number>,
  stop: () => Promise<void> = async () => undefined,
): Promise<never> {
  const stopped = new Promise<number>((resolve) => lifetime.ended.addEventListener('abort', () => resolve(130)))
  const finished = main().catch((error) => {
    if (!lifetime.ended.aborted) console.error(error instanceof Error ? error.message : error)
    return error instanceof UsageError ? 2 : 1
  })
  const code = await Promise.race([finished, stopped])
  await stop()
  await stopClusters()
  await stopEnvironment()
  process.exit(code)
}
