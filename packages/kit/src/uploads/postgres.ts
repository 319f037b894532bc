import { LRUCache } from 'lru-cache'
import type { Sql, Statement } from '../postgres/postgres.ts'
import { checkKey, receive } from './upload-body.ts'
import type { Upload, Uploads } from './uploads.ts'

const upsert: Statement = {
  name: 'uploads-put',
  text: `INSERT INTO uploads (key, content_type, tag, data) VALUES ($1, $2, $3, $4)
    ON CONFLICT (key) DO UPDATE SET content_type = $2, tag = $3, data = $4, updated_at = now()`,
}
const select: Statement = {
  name: 'uploads-get',
  text: `SELECT content_type AS "contentType", tag, CASE WHEN tag = $2 THEN NULL ELSE data END AS data
    FROM uploads WHERE key = $1`,
}

type Found = Omit<Upload, 'data'> & { data: Buffer | null }

/** Files that were read last stay in memory, up to this many bytes. */
const maxCachedBytes = 16 * 1024 * 1024

/**
 * In the database that every replica has anyway: backed up with the rest, and right for some thousands of small files. What
 * is in memory, under a tag that identifies its contents, is not sent again: 2 MB from Postgres take 30 ms of the event loop.
 */
export function createPostgresUploads({ postgres }: { postgres: Sql }): Uploads {
  const cached = new LRUCache<string, Upload>({
    maxSize: maxCachedBytes,
    sizeCalculation: ({ data }) => Math.max(1, data.byteLength),
  })
  return {
    scope: 'cluster',
    async put(key, body, options) {
      const { contentType, tag, data } = await receive(body, options)
      await postgres.query(upsert, [checkKey(key), contentType, tag, data])
      return { contentType, tag }
    },
    async get(key) {
      const known = cached.get(checkKey(key))
      const { rows } = await postgres.query<Found>(select, [key, known?.tag ?? ''])
      const [row] = rows
      if (row === undefined) return undefined
      if (row.data === null) return known
      const found = { ...row, data: row.data }
      cached.set(key, found)
      return found
    },
  }
}
