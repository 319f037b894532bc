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
    from: "'priority', afterFirstTries)",
    to: "'priority', 0)",
    tests: ['packages/kit/src/jobs'],
  },
  {
    removed: 'the limit of attempts',
    file: 'packages/kit/src/jobs/queue.ts',
    from: '  attempts,\n  backoff',
    to: '  attempts: attempts * 1000,\n  backoff',
  },
]
