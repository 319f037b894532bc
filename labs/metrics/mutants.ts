import type { Mutant } from '../mutant.ts'

export const mutants: Mutant[] = [
  {
    removed: "NGINX's rule for /metrics",
    file: 'infra/nginx/escala.conf.template',
    from: '|metrics|',
    to: '|',
  },
]
