import type { Mutant } from '../mutant.ts'

export const mutants: Mutant[] = [
  {
    removed: 'the comparison with the newest version that a process has heard of',
    file: 'packages/kit/src/cache/first-tier.ts',
    from: 'isOlder: (key: string, version: number | undefined) => (version ?? 0) < (newest.get(key) ?? 0),',
    to: 'isOlder: (_key: string, _version: number | undefined) => false,',
  },
  {
    removed: 'the comparison of versions when a value is stored in Redis',
    file: 'packages/kit/src/cache/shared-tier.ts',
    from: 'if not back and not newer and not (mine and version >= tonumber(have or 0)) then return 0 end\n',
    to: '',
  },
  {
    removed: 'the one form of an id',
    file: 'packages/kit/src/http/mount.ts',
    from: 'canonicalParams(req.params)',
    to: 'req.params',
    tests: ['packages/kit/src/http'],
  },
]
