import type { Mutant } from '../mutant.ts'

export const mutants: Mutant[] = [
  {
    removed: 'the reload after which NGINX knows the new list',
    file: 'infra/local/servers.ts',
    from: "        await reloadWorkers(server.pid, () => server.signal('SIGHUP'))\n",
    to: '',
  },
  {
    removed: 'the question for names each second',
    file: 'infra/nginx/render.ts',
    from: '} resolve`]',
    to: '}`]',
    tests: ['infra/nginx/render.unit.test.ts'],
  },
]
