import type { Mutant } from '../mutant.ts'

export const mutants: Mutant[] = [
  {
    removed: 'the end of what a silent process left open',
    file: 'packages/kit/src/replicas/place.ts',
    from: '    if (outcome.poolSize > 0) await endOthers()\n',
    to: '',
    tests: ['packages/kit/src/replicas/replicas.test.ts', 'apps/api/src/place.test.ts'],
  },
  {
    removed: 'the time for which a heartbeat counts',
    file: 'packages/kit/src/postgres/connections.ts',
    from: 'allowance === undefined || allowance.elapsed() < allowance.ms',
    to: 'true',
    tests: ['packages/kit/src/replicas/replicas.test.ts'],
  },
  {
    removed: 'the mark of those that were found dead',
    file: 'packages/kit/src/replicas/place.ts',
    from: '    if (beaten.neighbourIsDead) await markDead(postgres)\n',
    to: '',
    tests: ['packages/kit/src/replicas/replicas.test.ts'],
  },
  {
    removed: 'the rest of a worker that has no place',
    file: 'apps/worker/src/parts.ts',
    from: '      place: connections,\n',
    to: '',
    tests: ['apps/worker/src/worker.test.ts'],
  },
  {
    removed: 'the limit of the role',
    file: 'packages/kit/src/replicas/statements.ts',
    from: 'WHERE rolname = session_user AND rolconnlimit >= 0 AND NOT rolsuper',
    to: 'WHERE false',
    tests: ['packages/kit/src/replicas/replicas.test.ts'],
  },
  {
    removed: 'the refusal of requests without a place',
    file: 'packages/kit/src/replicas/place.ts',
    from: '      if (before === undefined) onPlace(false)\n',
    to: '',
    tests: ['apps/api/src/place.test.ts'],
  },
]
