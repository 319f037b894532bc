import type { Mutant } from '../mutant.ts'

export const mutants: Mutant[] = [
  {
    removed: 'keepAliveTimeout, in the lab',
    file: 'packages/kit/src/lifecycle/http-server.ts',
    from: '      keepAliveTimeout: httpLimits.keepAliveMs,\n',
    to: '',
  },
  {
    removed: 'keepAliveTimeout',
    file: 'packages/kit/src/lifecycle/http-server.ts',
    from: '      keepAliveTimeout: httpLimits.keepAliveMs,\n',
    to: '',
    tests: ['packages/kit/src/lifecycle', 'apps/api/src/refusals.test.ts'],
  },
]
