import type { Mutant } from '../mutant.ts'

const file = 'infra/nginx/escala.conf.template'

export const mutants: Mutant[] = [
  {
    removed: 'the rule that a write without an answer is not sent again',
    file,
    from: '    "~504\\|(.* )?[1-9]\\d*$"              late;',
    to: '    #',
  },
  {
    removed: 'the second try of a read that was sent',
    file,
    from: '      proxy_next_upstream_tries 2;\n',
    to: '      proxy_next_upstream_tries 1;\n',
  },
  {
    removed: 'the rule that a write whose connection broke is not sent again',
    file,
    from: '    "~\\|(.* )?[1-9]\\d*$"                 lost;',
    to: '    #',
    tests: ['infra/nginx/nginx.test.ts'],
  },
  {
    removed: 'the other replicas for a write that was refused',
    file,
    from: '    location @write {\n      proxy_next_upstream error timeout;\n',
    to: '    location @write {\n',
    tests: ['infra/nginx/nginx.test.ts'],
  },
]
