import { setTimeout as wait } from 'node:timers/promises'
import { createClient } from '@escala/testing/client'

/** Throws when that is not so within 20 s. */
export async function until(what: string, condition: () => boolean | Promise<boolean>): Promise<void> {
  for (const startedAt = performance.now(); !(await condition()); await wait(20)) {
    if (performance.now() - startedAt > 20_000) throw new Error(`not within 20 s: ${what}`)
  }
}

/** Ready, and not degraded. */
export async function isWell(internalUrl: string): Promise<boolean> {
  const { status, body } = await createClient(internalUrl, { keepAlive: false }).get('/readyz')
  return status === 200 && body.degraded.length === 0
}
