import type { Cast } from './cast.ts'
import type { Section } from './rows.ts'
import type { Stage } from './stage.ts'

/** How long and how often; `--quick` makes all of it smaller. */
export interface Size {
  /** Responses of each program before anything counts. */
  warmUp: number
  rounds: number
  windowMs: number
  /** Requests whose system calls are counted. */
  traced: number
  /** The figures of one way to sell. */
  saleMs: number
  /** A stock that is sold out. */
  scarce: number
  /** Orders of one round that a worker charges and confirms. */
  jobs: number
  /** What a start leaves behind goes away meanwhile: connections that are given back, code that is compiled. */
  settleMs: number
  idleMs: number
  /** Heartbeats of one round. */
  beats: number
  starts: number
}

export const full: Size = {
  warmUp: 20_000,
  rounds: 6,
  windowMs: 1200,
  traced: 6000,
  saleMs: 900,
  scarce: 100,
  jobs: 400,
  settleMs: 5000,
  idleMs: 20_000,
  beats: 600,
  starts: 5,
}

export const quick: Size = {
  warmUp: 3000,
  rounds: 3,
  windowMs: 500,
  traced: 1000,
  saleMs: 300,
  scarce: 100,
  jobs: 150,
  settleMs: 5000,
  idleMs: 6000,
  beats: 200,
  starts: 2,
}

export interface Bench {
  stage: Stage
  cast: Cast
  size: Size
  /** The folder of an earlier version to compare with. */
  beside?: string
  /** Aborted by Ctrl-C. */
  signal: AbortSignal
}

/** One thing to find out, which can be chosen by its name. */
export interface Measure {
  name: string
  title: string
  run(bench: Bench): Promise<Pick<Section, 'rows' | 'costs'>>
}

export const needsBefore = 'needs --beside CHECKOUT of an earlier version'
