import type { Mutant } from '../mutant.ts'

export const mutants: Mutant[] = [
  {
    removed: 'the reload after which NGINX knows the new list',
    file: 'packages/servers/src/nginx.ts',
    from: "        await reloadWorkers(server.pid, () => server.signal('SIGHUP'))\n",
    to: '',
  },
  {
    removed: 'the question for names each second',
    file: 'packages/servers/src/nginx-config.ts',
    from: '} resolve`]',
    to: '}`]',
    tests: ['packages/servers/src/nginx-config.unit.test.ts'],
  },
]
