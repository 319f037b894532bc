import type { Mutant } from '../mutant.ts'

export const mutants: Mutant[] = [
  {
    removed: 'the ports that are dropped from X-Forwarded-For',
    file: 'packages/kit/src/http/request-context.ts',
    from: '= withoutPorts(forwarded)',
    to: '= forwarded',
    tests: ['apps/api/src/app.test.ts'],
  },
  {
    removed: 'the network that an IPv6 client is counted by',
    file: 'infra/nginx/escala.conf.template',
    from: '    "~(?s)^(?<network>.{8}).{8}$" $network;\n',
    to: '',
    tests: ['infra/nginx/clients.test.ts'],
  },
]
