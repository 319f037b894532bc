import type { Mutant } from '../mutant.ts'

export const mutants: Mutant[] = [
  {
    removed: 'the limit of an idle transaction that holds a key',
    file: 'packages/kit/src/postgres/migrations/0004_idempotency.sql',
    from: "  PERFORM set_config('idle_in_transaction_session_timeout', idle_timeout_ms::text, true);\n",
    to: '',
  },
  {
    removed: 'the limit of idle transactions of a role',
    file: 'packages/kit/src/postgres/limits.ts',
    from: '  idle_in_transaction_session_timeout: idleInTransactionMs,\n',
    to: '',
    tests: ['packages/kit/src/postgres/postgres.test.ts', 'packages/kit/src/postgres/migrations.test.ts'],
  },
]
