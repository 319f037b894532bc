import type { Mutant } from '../mutant.ts'

export const mutants: Mutant[] = [
  {
    removed: 'the bar on the ids of ended sessions',
    file: 'packages/kit/src/sessions/redis.ts',
    from: "if redis.call('EXISTS', KEYS[2]) == 1 then return 0 end\n",
    to: '',
  },
  {
    removed: 'the rule that an ended session belongs to no user',
    file: 'packages/kit/src/sessions/request-session.ts',
    from: 'return session.ended !== true && session.id === sessionKey(req)',
    to: 'return session.id === sessionKey(req)',
    tests: ['packages/kit/src/sessions', 'packages/tickets/src/cart.test.ts'],
  },
]
