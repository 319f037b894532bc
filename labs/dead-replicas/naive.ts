import { tutorialNginx } from '../tutorial-nginx.ts'

/** NGINX's defaults: a minute for everything, and the replicas in round robin. */
export function naiveConf(listen: string, replicas: string[]): string {
  return tutorialNginx(listen, replicas)
}
