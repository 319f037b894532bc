import { expect, inject, test } from 'vitest'
import { runEndurance } from './run.ts'

// A short one, for what a change breaks outright. `npm run endurance` is the real one.
test('with everything killed, paused and cut at random, every order, charge, mail and ticket is accounted for', async ({
  skip,
}) => {
  skip(inject('driver') === 'docker', 'servers are crashed and come back under the same address')
  const { checks, findings } = await runEndurance({
    seed: 1,
    forMs: 8000,
    perSecond: 15,
    pace: 0.4,
    loseRedis: false,
    switchOver: false,
    strangersMs: 2000,
    recoverMs: 15_000,
    jobLockMs: 2000,
    workerEnv: { JOB_LOCK_MS: '2000', JOB_STALLED_MS: '1000', JOB_BACKOFF_MS: '200', ORDER_STUCK_MS: '4000' },
    restMs: 60_000,
    signal: new AbortController().signal,
    progress: () => undefined,
  })
  const failed = checks.filter(({ ok }) => !ok)
  expect(failed, [...checks.map(({ name, value }) => `${name}: ${value}`), ...findings].join('\n')).toEqual([])
})
