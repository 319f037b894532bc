import type { Mutant } from '../mutant.ts'

export const mutants: Mutant[] = [
  {
    removed: 'the short wait for a table',
    file: 'packages/kit/src/postgres/migrations.ts',
    from: 'Math.ceil(Math.min(limits.statementMs, limits.lockMs) / 5)',
    to: '5000',
    tests: ['packages/kit/src/postgres/migrations.test.ts'],
  },
  {
    removed: 'the end of an invalid index',
    file: 'packages/kit/src/postgres/migrations.ts',
    from: '    if (index !== undefined) await dropInvalid(session, index)\n',
    to: '',
    tests: ['packages/kit/src/postgres/migrations.test.ts'],
  },
  {
    removed: 'the long wait of a concurrent build',
    file: 'packages/kit/src/postgres/migrations.ts',
    from: 'meanwhile nobody waits for it.\n  await',
    to: 'meanwhile nobody waits for it.\n  if (waitMs < 0) await',
    tests: ['packages/kit/src/postgres/migrations.test.ts'],
  },
]
