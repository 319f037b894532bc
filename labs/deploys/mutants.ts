import type { Mutant } from '../mutant.ts'

export const mutants: Mutant[] = [
  {
    removed: 'the period in which a replica that drains refuses connections, in the lab',
    file: 'packages/kit/src/lifecycle/http-server.ts',
    from: '      await wait(refuseMs)\n',
    to: '',
  },
  {
    removed: 'the period in which a replica that drains refuses connections',
    file: 'packages/kit/src/lifecycle/http-server.ts',
    from: '      await wait(refuseMs)\n',
    to: '',
    tests: ['packages/kit/src/lifecycle'],
  },
]
