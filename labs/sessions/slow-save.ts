import { setTimeout as wait } from 'node:timers/promises'
import { createRedisSessions } from '@escala/kit/sessions/redis'
import type { Parts } from '../../apps/api/src/parts.ts'

/** The kit's sessions on a day when saving one takes 300 ms: what does not wait for it answers too early. */
export const apiParts: Partial<Parts> = {
  sessions({ redis }) {
    const sessions = createRedisSessions({ redis })
    const { set } = sessions.store
    sessions.store.set = async (id, data, callback) => {
      await wait(300)
      set.call(sessions.store, id, data, callback)
    }
    return sessions
  },
}
