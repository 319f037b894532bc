import type { Mutant } from '../mutant.ts'

export const mutants: Mutant[] = [
  {
    removed: 'load shedding',
    file: 'apps/api/src/app.ts',
    from: '  app.use(options.shed)\n',
    to: '',
  },
  {
    removed: 'load shedding, in the tests of the API',
    file: 'apps/api/src/app.ts',
    from: '  app.use(options.shed)\n',
    to: '',
    tests: ['apps/api/src/app.test.ts'],
  },
]
