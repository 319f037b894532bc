import type { Cluster } from '@escala/testing/cluster'
import type { Random } from './random.ts'

/** Makes things go wrong; what it returns makes them right again. */
export type Begin = (cluster: Cluster, roll: Random) => Promise<Undo> | Undo
export type Undo = (() => unknown) | undefined

export interface Fault {
  name: string
  /** How long it lasts, in seconds. */
  seconds: [number, number]
  begin: Begin
}

export interface FaultOptions {
  /** How long a job stays with its worker: some pauses are longer. */
  jobLockMs: number
  /** The Redis that keeps state loses it, once. */
  loseRedis: boolean
  /** Postgres has a standby, and the two change places. */
  switchOver: boolean
}
