import { createMemorySessions } from '@escala/kit/sessions/memory'
import type { Parts } from '../../apps/api/src/parts.ts'

const slow = process.env.LAB_SLOW === '1'
const sticky = process.env.LAB_MEMORY_SESSIONS === '1'

/** `/work` takes 10 ms, and half a second on the replica that is slow. */
export const apiParts: Partial<Parts> = {
  listener:
    (app, { config }) =>
    (req, res) => {
      if (req.url !== '/work') return app(req, res)
      res.setHeader('X-Replica-Id', config.REPLICA_ID)
      setTimeout(() => res.end('done'), slow ? 500 : 10)
    },
  ...(sticky ? { sessions: () => createMemorySessions() } : {}),
}
