import { setTimeout as wait } from 'node:timers/promises'
import { documentPart } from './document.ts'

/** The lock of many tutorials: `SET NX PX`, then the work, then `DEL`. */
export const apiParts = documentPart(async ({ redis, postgres }, { document, leaseMs }, edit) => {
  const lock = `lab-lock:${document}`
  while ((await redis.set(lock, 'locked', 'PX', leaseMs, 'NX')) === null) await wait(30)
  try {
    await edit(undefined, async (entries) => {
      await postgres.query('UPDATE lab_documents SET entries = $2 WHERE id = $1', [document, entries])
      return true
    })
    return 'written'
  } finally {
    await redis.del(lock)
  }
})
