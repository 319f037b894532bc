import { createRedisSessions } from '@escala/kit/sessions/redis'
import type { Parts } from '../../apps/api/src/parts.ts'
import { withSlowRoute } from './slow-route.ts'

/** Nothing but the kit, and the slow route. */
export const apiParts: Partial<Parts> = {
  listener: (app, { redis, config }) => withSlowRoute(app, createRedisSessions({ redis }), config.SESSION_SECRETS),
}
