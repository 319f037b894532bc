import type { Mutant } from '../mutant.ts'

const file = 'packages/kit/src/jobs/runner.ts'

export const mutants: Mutant[] = [
  {
    removed: 'UnrecoverableError, which ends what cannot get better',
    file,
    from: 'throw permanent && err instanceof Error ? new UnrecoverableError(err.message) : err',
    to: 'throw err',
  },
  {
    removed: 'the rule that first tries go first',
    file,
    from: '[afterFirstTries])',
    to: '[0])',
    tests: ['packages/kit/src/jobs'],
  },
  {
    removed: 'the turn of failed jobs in a lane that is never empty',
    file: 'packages/kit/src/jobs/retry-turns.ts',
    from: '++firstTries >= turnEvery',
    to: 'false',
    tests: ['packages/kit/src/jobs'],
  },
  {
    removed: 'the end of a job whose data cannot be read',
    file: 'packages/kit/src/jobs/bullmq.ts',
    from: 'makeReadable(redis, ',
    to: 'Promise.resolve(',
    tests: ['packages/kit/src/jobs'],
  },
  {
    removed: 'the limit of attempts',
    file: 'packages/kit/src/jobs/queue.ts',
    from: '  attempts,\n  backoff',
    to: '  attempts: attempts * 1000,\n  backoff',
  },
]
