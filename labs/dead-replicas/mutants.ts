import type { Mutant } from '../mutant.ts'

export const mutants: Mutant[] = [
  {
    removed: 'least_conn',
    file: 'infra/nginx/escala.conf.template',
    from: '    least_conn;  ',
    to: '    # ',
  },
  {
    removed: 'the bound on the heads of responses',
    file: 'apps/api/src/app.ts',
    from: '  useServerClasses(app, options.classes)\n',
    to: '',
    tests: ['apps/api/src/refusals.test.ts', 'infra/nginx/nginx.test.ts'],
  },
  {
    removed: 'the connection that outlives a time-out',
    file: 'packages/kit/src/http/request-context.ts',
    from: 'problemHandler(late, req, res, () => undefined)',
    to: 'next(late)',
    tests: ['packages/kit/src/http'],
  },
]
