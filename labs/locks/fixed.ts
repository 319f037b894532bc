import { createRedisLocks } from '@escala/kit/locks/redis'
import { documentPart } from './document.ts'

/** The kit's lock, and a document that knows the highest fence that it has seen. */
export const apiParts = documentPart(async ({ redis, postgres, log }, { document, leaseMs }, edit) => {
  const lease = await createRedisLocks({ redis, log }).acquire(document, { leaseMs, waitMs: 60_000 })
  if (!lease) return 'not locked'
  try {
    const written = await edit(lease.signal, async (entries) => {
      const { rowCount } = await postgres.query(
        'UPDATE lab_documents SET entries = $2, fence = $3 WHERE id = $1 AND fence <= $3',
        [document, entries, lease.fence],
      )
      return rowCount === 1
    })
    return written ? 'written' : 'refused by its fence'
  } catch (error) {
    if (lease.signal.aborted) return 'stopped'
    throw error
  } finally {
    await lease.release()
  }
})
