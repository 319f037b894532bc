import type { Mutant } from '../mutant.ts'

export const mutants: Mutant[] = [
  {
    removed: 'the reaction to 25006',
    file: 'packages/kit/src/postgres/postgres.ts',
    from: "    if (isReadOnly(error)) connections.retire(client.generation, 'the server is read-only')\n",
    to: '',
    tests: ['packages/kit/src/postgres/postgres.test.ts'],
  },
  {
    removed: 'the reaction to 57P01 on an idle connection',
    file: 'packages/kit/src/postgres/pool.ts',
    from: "    if (isShutdown(err)) connections.retire((client as unknown as Connection).generation, 'the server shuts down')\n",
    to: '',
    tests: ['packages/kit/src/postgres/postgres.test.ts'],
  },
  {
    removed: 'what a server reports when a connection is made',
    file: 'packages/kit/src/postgres/pool.ts',
    from: "    if (readOnly) connections.retire(generation, 'the server is read-only', readOnlyMs)\n",
    to: '',
    tests: ['packages/kit/src/postgres/failover.test.ts'],
  },
  {
    removed: 'the end of idle connections',
    file: 'packages/kit/src/postgres/pool.ts',
    from: '  const stopHearing = connections.onRetire(endIdle)\n',
    to: '  const stopHearing = () => {}\n',
    tests: ['packages/kit/src/postgres/failover.test.ts'],
  },
  {
    removed: 'the lifetime of a listener',
    file: 'packages/kit/src/postgres/listen.ts',
    from: 'if (open && performance.now() >= endsAt) return true',
    to: '',
    tests: ['packages/kit/src/postgres/listen.test.ts'],
  },
  {
    removed: 'the lifetime of a connection',
    file: 'packages/kit/src/postgres/pool.ts',
    from: '      performance.now() > endsAt ||\n',
    to: '',
    tests: ['packages/kit/src/postgres/postgres.test.ts'],
  },
  {
    removed: 'the end of a connection with 25006, and all that follows from it',
    file: 'packages/kit/src/postgres/pool.ts',
    from: '    return (\n      spoiled ||\n      heardAt < connections.suspectBefore() ||\n      generation < connections.generation() ||',
    to: '    return (\n      heardAt < connections.suspectBefore() ||',
  },
]
