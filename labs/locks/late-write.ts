import { setTimeout as wait } from 'node:timers/promises'
import type { Cluster } from '@escala/testing/cluster'
import type { Replica } from '@escala/testing/replica'

export interface LateWriteOptions {
  cluster: Cluster
  holder: Replica
  leaseMs: number
  /** Resolves when the holder has read the document, with the promise of its end. */
  begin(workMs: number): Promise<{ ended: Promise<unknown> }>
  /** Resolves when the successor has written. */
  succeed(): Promise<unknown>
}

const workMs = 300

async function untilWell({ id, internalUrl }: Replica): Promise<void> {
  for (const startedAt = performance.now(); ; await wait(50)) {
    const response = await fetch(`${internalUrl}/readyz`)
    if (response.ok && ((await response.json()) as { degraded: unknown[] }).degraded.length === 0) return
    if (performance.now() - startedAt > 20_000) throw new Error(`${id} has not recovered`)
  }
}

/**
 * A holder sends its write in time, and the network brings it when its successor has written: the holder itself can do nothing about
 * that any more. It is paused meanwhile, or it would renew its lease.
 */
export async function writeLate({ cluster, holder, leaseMs, begin, succeed }: LateWriteOptions): Promise<void> {
  const { postgresProxy } = cluster
  await untilWell(holder) // what came before may have cost it a connection
  const { ended } = await begin(workMs)
  const lateMs = 3 * leaseMs
  postgresProxy.delay(lateMs)
  await wait(3 * workMs) // by now its write is on its way
  await holder.pause()
  await postgresProxy.heal()
  const written = wait(lateMs)
  await succeed()
  await written
  await holder.resume()
  await ended
}
