import type { Mutant } from '../mutant.ts'

export const mutants: Mutant[] = [
  {
    removed: 'the reading of what is left of a refused body',
    file: 'packages/kit/src/lifecycle/http-server.ts',
    from: "      res.on('finish', () => discardRest(req))\n",
    to: '',
    tests: ['packages/kit/src/lifecycle'],
  },
  {
    removed: 'the bound on the uploads of one client',
    file: 'infra/nginx/escala.conf.template',
    from: 'limit_conn uploads 64;',
    to: '',
    tests: ['infra/nginx/clients.test.ts'],
  },
]
