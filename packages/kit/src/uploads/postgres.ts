import type { Sql, Statement } from '../postgres/postgres.ts'
import { checkKey, receive } from './receive.ts'
import type { Upload, Uploads } from './uploads.ts'

const upsert: Statement = {
  name: 'uploads-put',
  text: `INSERT INTO uploads (key, content_type, tag, data) VALUES ($1, $2, $3, $4)
    ON CONFLICT (key) DO UPDATE SET content_type = $2, tag = $3, data = $4, updated_at = now()`,
}
const select: Statement = {
  name: 'uploads-get',
  text: 'SELECT content_type AS "contentType", tag, data FROM uploads WHERE key = $1',
}

/** In the database that every replica has anyway: backed up with the rest, and right for some thousands of small files. */
export function createPostgresUploads({ postgres }: { postgres: Sql }): Uploads {
  return {
    scope: 'cluster',
    async put(key, body, options) {
      const { contentType, tag, data } = await receive(body, options)
      await postgres.query(upsert, [checkKey(key), contentType, tag, data])
      return { contentType, tag }
    },
    async get(key) {
      const { rows } = await postgres.query<Upload>(select, [checkKey(key)])
      return rows[0]
    },
  }
}
