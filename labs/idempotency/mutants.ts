import type { Mutant } from '../mutant.ts'

export const mutants: Mutant[] = [
  {
    removed: 'the limit of idle transactions',
    file: 'packages/kit/src/postgres/limits.ts',
    from: '    idle_in_transaction_session_timeout: limits.idleInTransactionMs,\n',
    to: '',
    tests: ['packages/kit/src/postgres/postgres.test.ts', 'packages/kit/src/postgres/migrations.test.ts'],
  },
]
