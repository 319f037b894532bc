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
    file: 'packages/kit/src/lifecycle/http-server.ts',
    from: "      ServerResponse: boundedResponse(options.onLargeHead ?? (() => '')),\n",
    to: '',
    tests: ['packages/kit/src/lifecycle', 'infra/nginx/nginx.test.ts'],
  },
  {
    removed: 'the connection that outlives a time-out',
    file: 'packages/kit/src/http/request-context.ts',
    from: 'problemHandler(late, req, res, () => undefined)',
    to: 'next(late)',
    tests: ['packages/kit/src/http'],
  },
]
