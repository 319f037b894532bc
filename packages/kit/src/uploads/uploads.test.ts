import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createTestDatabase } from '@escala/testing/test-database'
// @ts-expect-error: it has no types
import S3rver from 's3rver'
import { afterAll, beforeAll, expect, inject, test } from 'vitest'
import { createLog } from '../log/log.ts'
import { kitMigrations, migrate } from '../postgres/migrations.ts'
import { createPostgres } from '../postgres/postgres.ts'
import { createDiskUploads } from './disk.ts'
import { createPostgresUploads } from './postgres.ts'
import { createS3Uploads } from './s3.ts'
import { describeUploads, image, inPieces } from './uploads.contract.ts'

const log = createLog({ service: 'test', replicaId: 'test', version: '0', level: 'silent' })
const credentials = { accessKeyId: 'S3RVER', secretAccessKey: 'S3RVER', region: 'us-east-1' }
let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'uploads-'))
})
afterAll(() => rm(folder, { recursive: true }))

describeUploads('disk', async () => ({ uploads: createDiskUploads({ folder }), stop: async () => {} }))

describeUploads('postgres', async () => {
  const database = await createTestDatabase(inject('postgresUrl'))
  await migrate({ url: database.url, folders: [kitMigrations], log })
  const postgres = createPostgres({
    url: database.url,
    log,
    applicationName: 'test',
    maxConnections: 2,
    timeoutMs: 5000,
  })
  return {
    uploads: createPostgresUploads({ postgres }),
    async stop() {
      await postgres.stop()
      await database.drop()
    },
  }
})

test('what a replica has read before is not sent again by Postgres, until another one replaces it', async () => {
  const database = await createTestDatabase(inject('postgresUrl'))
  await migrate({ url: database.url, folders: [kitMigrations], log })
  const options = { url: database.url, log, applicationName: 'test', maxConnections: 2, timeoutMs: 5000 }
  const postgres = createPostgres(options)
  const sent: (number | undefined)[] = []
  const counting: typeof postgres = {
    ...postgres,
    async query(...query) {
      const result = await postgres.query(...query)
      sent.push(result.rows.map((row) => (row as { data?: Buffer | null }).data?.byteLength)[0])
      return result as never
    },
  }
  const [one, other] = [createPostgresUploads({ postgres: counting }), createPostgresUploads({ postgres })]
  const put = async (data: Buffer) => ({ ...(await other.put('a', inPieces(data, 9999), { maxBytes: 100_000 })), data })
  const first = await put(image('image/png', 50_000))
  for (let i = 0; i < 3; i++) expect(await one.get('a')).toEqual(first)
  const second = await put(image('image/gif', 40_000))
  for (let i = 0; i < 2; i++) expect(await one.get('a')).toEqual(second)
  expect(sent).toEqual([50_000, undefined, undefined, 40_000, undefined])
  await postgres.query({ name: 'uploads-remove', text: 'DELETE FROM uploads' }, [])
  expect(await one.get('a')).toBeUndefined()
  await postgres.stop()
  await database.drop()
})

// It looks at the access key, and does not check signatures of version 4.
async function startS3() {
  const server = new S3rver({
    address: '127.0.0.1',
    port: 0,
    silent: true,
    directory: await mkdtemp(join(folder, 's3-')),
    configureBuckets: [{ name: 'pictures', configs: [] }],
  })
  const { port } = await server.run()
  return { server, bucketUrl: `http://127.0.0.1:${port}/pictures` }
}

describeUploads('s3', async () => {
  const { server, bucketUrl } = await startS3()
  return { uploads: createS3Uploads({ bucketUrl, ...credentials }), stop: () => server.close() }
})

test('a store that refuses and one that is down are reported as such', async () => {
  const { server, bucketUrl } = await startS3()
  const wrong = createS3Uploads({ bucketUrl, ...credentials, accessKeyId: 'wrong' })
  await expect(wrong.put('a', inPieces(image('image/png')), { maxBytes: 9999 })).rejects.toMatchObject({
    code: 'E_STORAGE_UNAVAILABLE',
    retryAfterMs: 1000,
  })
  await server.close()
  const away = createS3Uploads({ bucketUrl, ...credentials })
  await expect(away.get('a')).rejects.toMatchObject({ code: 'E_STORAGE_UNAVAILABLE', retryAfterMs: 1000 })
})

test.each([
  ['never ends', undefined],
  ['is too large', 40],
])('a stored object that %s is reported as such, in time', async (_, pieces) => {
  const server = createServer((_req, res) => {
    let sent = 0
    const timer = setInterval(() => (++sent === pieces ? res.end() : res.write(Buffer.alloc(100))), 20)
    res.on('close', () => clearInterval(timer))
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const bucketUrl = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const limits = pieces ? { maxObjectBytes: 1000 } : { timeoutMs: 300 }
  await expect(createS3Uploads({ bucketUrl, ...credentials, ...limits }).get('a')).rejects.toMatchObject({
    code: 'E_STORAGE_UNAVAILABLE',
  })
  server.closeAllConnections()
  server.close()
})
