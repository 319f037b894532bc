import { createHmac } from 'node:crypto'

/** Shows whether two replicas have the same secret without revealing it: keyed by the secret itself. */
export function fingerprintSecret(secret: string): string {
  return createHmac('sha256', secret).update('escala session secret').digest('hex').slice(0, 16)
}
