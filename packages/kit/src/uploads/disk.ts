import { createHash, randomUUID } from 'node:crypto'
import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { anyType, checkKey, receive, tagOf, typeOf } from './upload-body.ts'
import type { Uploads } from './uploads.ts'

/** Files in a folder of this machine: another replica elsewhere does not find them, nor does this one after it was moved. */
export function createDiskUploads({ folder }: { folder: string }): Uploads {
  // One flat folder, whatever the parts of the key.
  const pathOf = (key: string) => join(folder, createHash('sha256').update(checkKey(key)).digest('hex'))
  return {
    scope: 'process',
    async put(key, body, options) {
      const path = pathOf(key)
      const { contentType, tag, data } = await receive(body, options)
      const half = `${path}.${randomUUID()}`
      await mkdir(folder, { recursive: true })
      try {
        await writeFile(half, data)
        await rename(half, path) // readers see the old file or the new one, never a part
      } finally {
        await rm(half, { force: true })
      }
      return { contentType, tag }
    },
    async get(key) {
      const data = await readFile(pathOf(key)).catch((error: NodeJS.ErrnoException) => {
        if (error.code === 'ENOENT') return undefined
        throw error
      })
      return data && { contentType: typeOf(data) ?? anyType, tag: tagOf(data), data }
    },
  }
}
