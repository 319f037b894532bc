import type { Mutant } from '../mutant.ts'

export const mutants: Mutant[] = [
  {
    removed: 'the socket timeout of a connection to Redis',
    file: 'packages/kit/src/redis/redis.ts',
    from: '    socketTimeout: silentMs[role],\n',
    to: '',
    tests: ['packages/kit/src/redis/redis.test.ts'],
  },
  {
    removed: 'the heartbeat',
    file: 'packages/kit/src/redis/heartbeat.ts',
    from: "    if (redis.status !== 'ready') return\n",
    to: '    return\n',
    tests: ['packages/kit/src/redis/redis.test.ts'],
  },
  {
    removed: 'the shorter wait for a delayed job',
    file: 'packages/kit/src/jobs/bullmq.ts',
    from: '  override get maximumBlockTimeout(): number {\n    return blockSeconds\n  }\n',
    to: '',
    tests: ['packages/kit/src/jobs/jobs.test.ts'],
  },
  {
    removed: 'the suspicion of idle connections to Postgres',
    file: 'packages/kit/src/postgres/postgres.ts',
    from: '      else if (isUnanswered(error)) connections.suspect(startedAt)\n',
    to: '',
    tests: ['packages/kit/src/postgres/silence.test.ts'],
  },
  {
    removed: 'the question to a silent listener',
    file: 'packages/kit/src/postgres/listen.ts',
    from: "        if (open) await Promise.race([ended, client.query('')])\n",
    to: '',
    tests: ['packages/kit/src/postgres/silence.test.ts'],
  },
]
