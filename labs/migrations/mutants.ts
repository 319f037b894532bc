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
    from: 'nothing waits for it meanwhile.\n  await',
    to: 'nothing waits for it meanwhile.\n  if (waitMs < 0) await',
    tests: ['packages/kit/src/postgres/migrations.test.ts'],
  },
  {
    removed: 'the question whether the server still works on a statement',
    file: 'packages/kit/src/postgres/session.ts',
    from: 'await Promise.race([client.query(text, values), silence(answered.signal)])',
    to: 'await client.query(text, values)',
    tests: ['packages/kit/src/postgres/session.test.ts'],
  },
  {
    removed: 'the look of the server whether the step is still there',
    file: 'packages/kit/src/postgres/session.ts',
    from: 'const checkClientMs = 1000',
    to: 'const checkClientMs = 0',
    tests: ['packages/kit/src/postgres/session.test.ts'],
  },
]
