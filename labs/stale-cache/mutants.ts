import type { Mutant } from '../mutant.ts'

export const mutants: Mutant[] = [
  {
    removed: 'the one form of an id',
    file: 'packages/kit/src/http/mount.ts',
    from: 'canonicalParams(req.params)',
    to: 'req.params',
    tests: ['packages/kit/src/http'],
  },
]
