import { tutorialNginx } from '../tutorial-nginx.ts'

/** With the retries that make failed requests rare. */
export function naiveConf(listen: string, replicas: string[]): string {
  const servers = replicas.map((replica) => `${replica} max_fails=0`)
  return tutorialNginx(listen, servers, [
    'proxy_read_timeout 300ms',
    'proxy_next_upstream error timeout non_idempotent',
  ])
}
