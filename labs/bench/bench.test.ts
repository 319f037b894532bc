import { createCleanUps } from '@escala/testing/clean-ups'
import { postgresSettings } from '@escala/testing/environment'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { createCast } from './cast.ts'
import type { Bench } from './measure.ts'
import { measures } from './measures/all.ts'
import { startStage } from './stage.ts'

// That everything can be measured, and that what is exact is exact. Windows of this size say nothing about speed.
const size = {
  warmUp: 40,
  rounds: 1,
  windowMs: 40,
  traced: 40,
  saleMs: 40,
  scarce: 40,
  jobs: 4,
  settleMs: 100,
  idleMs: 100,
  beats: 20,
  starts: 1,
}

const cleanUps = createCleanUps()
let bench: Bench

beforeAll(async () => {
  const stage = await startStage(cleanUps, postgresSettings)
  const signal = new AbortController().signal
  bench = { stage, cast: createCast(stage, undefined), size, signal }
})
afterAll(cleanUps.run)

test.each(measures)('$name', async ({ run }) => {
  const { rows, costs = [] } = await run(bench)
  const unmeasured = rows.filter(({ value }) => value === undefined)
  // Without an earlier version, and where there is no strace or no pgbench.
  for (const { what, note } of unmeasured) expect(note, what).toMatch(/--beside|strace|pgbench/)
  for (const { what, value } of rows) if (value) expect(value.least, what).toBeGreaterThanOrEqual(0)
  for (const { what, value } of rows.filter(({ budget }) => budget && 'equals' in budget)) {
    expect(value, what).toMatchObject({ least: 0, most: 0 })
  }
  for (const { variant, sum, perSecond } of costs) {
    expect(sum, variant).toBeGreaterThan(0)
    expect(perSecond, variant).toBeGreaterThan(0)
  }
})
