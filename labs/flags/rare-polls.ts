import { createPostgresFlags } from '@escala/kit/flags/postgres'
import type { Parts } from '../../apps/api/src/parts.ts'

/** The kit's flags, with one poll a minute: a replica that follows sooner has received the broadcast. */
export const apiParts: Partial<Parts> = {
  flags: ({ cacheRedis, subscriber, declaredFlags: declared, postgres, log }) =>
    createPostgresFlags({ declared, postgres, log, pollMs: 60_000, broadcast: { redis: cacheRedis, subscriber } }),
}
