import type { Mutant } from '../mutant.ts'

const file = 'packages/kit/src/flags/postgres.ts'

export const mutants: Mutant[] = [
  {
    removed: 'the broadcast of a change',
    file,
    from: 'broadcast?.redis.publish(channel, name)',
    to: 'Promise.resolve()',
  },
  {
    removed: 'the heartbeat, which finds what the broadcast has lost',
    file,
    from: "changes?.onChange('flags', hear) ?? stopHearing",
    to: 'stopHearing',
  },
  {
    removed: 'the wait for the flags at the start',
    file,
    from: '        if (err === undefined) break\n',
    to: '        break\n',
    tests: ['packages/kit/src/flags'],
  },
]
