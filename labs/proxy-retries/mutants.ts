import type { Mutant } from '../mutant.ts'

const file = 'infra/nginx/escala.conf.template'

export const mutants: Mutant[] = [
  {
    removed: 'the rule that a write without an answer is not sent again',
    file,
    from: '    "~504\\|(.* )?[1-9]\\d*$"              late;',
    to: '    "~504" next; #',
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
