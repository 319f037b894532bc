import type { Mutant } from '../mutant.ts'

export const mutants: Mutant[] = [
  {
    removed: 'the repeat of an outdated statement',
    file: 'packages/kit/src/postgres/postgres.ts',
    from: '    if (isOutdated) outdated.add(error as object)\n',
    to: '',
    tests: ['packages/kit/src/postgres/postgres.test.ts'],
  },
]
