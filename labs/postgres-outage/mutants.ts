import type { Mutant } from '../mutant.ts'

const pool = 'packages/kit/src/postgres/pool.ts'

export const mutants: Mutant[] = [
  {
    removed: 'the listener of the pool, in the lab',
    file: pool,
    from: "  pool.on('error', (err, client) => {",
    to: "  pool.on('remove', (client: pg.PoolClient, err = undefined) => {",
  },
  {
    removed: 'the listener on a connection that changes hands, in the lab',
    file: pool,
    from: "    client.on('error', () => undefined)\n",
    to: '',
  },
  {
    removed: 'the repeat after a conflict, in the lab',
    file: 'packages/kit/src/postgres/postgres.ts',
    from: '        if (!isOutdated && !isConflict(error)) throw error\n',
    to: '        if (!isOutdated) throw error\n',
  },
  {
    removed: 'the listener on a connection that changes hands',
    file: 'packages/kit/src/postgres/pool.ts',
    from: "    client.on('error', () => undefined)\n",
    to: '',
    tests: ['packages/kit/src/postgres/postgres.test.ts'],
  },
  {
    removed: 'the listener of the pool',
    file: 'packages/kit/src/postgres/pool.ts',
    from: "  pool.on('error', (err, client) => {",
    to: "  pool.on('remove', (client: pg.PoolClient, err = undefined) => {",
    tests: ['packages/kit/src/postgres/postgres.test.ts'],
  },
  {
    removed: 'the repeat after a conflict',
    file: 'packages/kit/src/postgres/postgres.ts',
    from: '        if (!isOutdated && !isConflict(error)) throw error\n',
    to: '        if (!isOutdated) throw error\n',
    tests: ['packages/kit/src/postgres/postgres.test.ts'],
  },
  {
    removed: 'the 503 of a refusal',
    file: 'packages/kit/src/postgres/failures.ts',
    from: 'unavailable.test(state) || isRefusal(error)',
    to: 'unavailable.test(state)',
    tests: ['packages/kit/src/postgres/postgres.test.ts'],
  },
]
