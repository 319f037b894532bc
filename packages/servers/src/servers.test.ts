import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import pg from 'pg'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { type Binaries, findBinaries } from './binaries.ts'
import type { LocalServer } from './local-server.ts'
import { startNginx } from './nginx.ts'
import { startPostgres } from './postgres.ts'
import { isAlive, isFree, run } from './processes.ts'
import { startRedis } from './redis.ts'

let binaries: Binaries
let folder: string

beforeAll(async () => {
  binaries = await findBinaries()
  folder = await mkdtemp(join(tmpdir(), 'escala-servers-'))
})
afterAll(() => rm(folder, { recursive: true, force: true }))

async function expectNothingLeft(server: LocalServer) {
  expect(isAlive(server.pid)).toBe(false)
  expect(await isFree(server.port)).toBe(true)
}

test('Postgres answers to its password only, keeps its data, and leaves nothing running', async () => {
  const options = { binaries, dataDir: join(folder, 'postgres'), password: 'p @:/?', settings: { fsync: 'off' } }
  const first = await startPostgres(options)
  const query = async (url: string, text: string) => {
    const client = new pg.Client(url)
    await client.connect()
    try {
      return (await client.query(text)).rows
    } finally {
      await client.end()
    }
  }
  await query(first.url, 'CREATE TABLE kept AS SELECT 1 AS one')
  await expect(query(first.url.replace(/:[^:@]*@/, ':wrong@'), 'SELECT 1')).rejects.toMatchObject({ code: '28P01' })
  await first.stop()
  await expectNothingLeft(first)

  const second = await startPostgres(options)
  expect(await query(second.url, 'SELECT one FROM kept')).toEqual([{ one: 1 }])
  await second.stop()
  await expectNothingLeft(second)
})

test('Redis answers and leaves nothing running', async () => {
  const server = await startRedis({ binaries, dir: join(folder, 'redis'), password: 'secret' })
  expect(server.url).toBe(`redis://:secret@127.0.0.1:${server.port}`)
  await Promise.all([server.stop(), server.stop()])
  await expectNothingLeft(server)
})

test('NGINX balances over the replicas it is given, and over others after a reload', async () => {
  const names = ['a', 'b', 'c']
  const replicas = names.map((name) => createServer((_, res) => res.end(name)).listen(0, '127.0.0.1'))
  await vi.waitFor(() => expect(replicas.every((replica) => replica.listening)).toBe(true))
  const addresses = replicas.map((replica) => `127.0.0.1:${(replica.address() as AddressInfo).port}`)
  const server = await startNginx({ binaries, dir: join(folder, 'nginx'), replicas: addresses.slice(0, 2) })
  const seen = async () => {
    const answers = await Promise.all(names.concat(names).map(() => fetch(`${server.url}/v1/things`)))
    return [...new Set(await Promise.all(answers.map((answer) => answer.text())))].sort().join('')
  }
  expect(await seen()).toBe('ab')
  await server.reload(addresses.slice(2))
  await vi.waitFor(async () => expect(await seen()).toBe('c'), 5000)
  await server.stop()
  await expectNothingLeft(server)
  for (const replica of replicas) replica.close()
  expect(await readFile(join(folder, 'nginx', 'error.log'), 'utf8')).not.toContain('[emerg]')
})

test('a port that is taken is an error that names it', async () => {
  const taken = createServer().listen(0, '127.0.0.1')
  await vi.waitFor(() => expect(taken.listening).toBe(true))
  const { port } = taken.address() as AddressInfo
  const start = startNginx({ binaries, dir: join(folder, 'taken'), port, replicas: ['127.0.0.1:1'] })
  await expect(start).rejects.toThrow(`127.0.0.1:${port}`)
  taken.close()
})

test('a server ends with the process that started it, even when that one is killed', async () => {
  const program = `
    import { startRedis } from ${JSON.stringify(join(import.meta.dirname, 'redis.ts'))}
    const server = await startRedis({ binaries: ${JSON.stringify(binaries)}, dir: ${JSON.stringify(join(folder, 'orphan'))} })
    console.log('pid=' + server.pid)
    setTimeout(() => process.kill(process.pid, 'SIGKILL'), 10)`
  const { output } = await run(process.execPath, ['--input-type=module', '-e', program])
  const pid = Number(/pid=(\d+)/.exec(output)?.[1])
  expect(pid).toBeGreaterThan(0)
  await vi.waitFor(() => expect(isAlive(pid)).toBe(false), 5000)
})
