import { mkdir, mkdtemp, rm, symlink } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { findBinaries } from '@escala/servers/binaries'
import { freePort, type ServerProcess, startProcess } from '@escala/servers/processes'
import { until } from '@escala/servers/waiting'
import { Redis } from 'ioredis'
import { afterAll, beforeAll, expect, test } from 'vitest'

const script = fileURLToPath(new URL('redis.sh', import.meta.url))
let folder: string
let start: () => Promise<ServerProcess>
let connect: (as?: { username: string; password: string }) => Redis
const user = { username: 'escala', password: 'a >"#\\ password' }
const clients: Redis[] = []
const servers: ServerProcess[] = []

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'escala-redis-'))
  const { redis } = await findBinaries()
  const bin = join(folder, 'bin')
  await mkdir(bin)
  await symlink(redis.path, join(bin, 'redis-server'))
  const port = await freePort()
  connect = (as) => {
    const client = new Redis({ port, retryStrategy: null, lazyConnect: true, enableReadyCheck: false, ...as })
    client.on('error', () => undefined)
    clients.push(client)
    return client
  }
  start = async () => {
    const server = startProcess({
      name: 'Redis',
      command: 'sh',
      args: [
        script,
        'state',
        '--port',
        String(port),
        '--dir',
        folder,
        '--appendonly',
        'yes',
        '--appendfsync',
        'always',
      ],
      cwd: folder,
      logFile: join(folder, 'redis.log'),
      env: { ...process.env, ...redis.env, PATH: `${bin}:${process.env.PATH}`, REDIS_PASSWORD: user.password },
      signals: ['SIGKILL'],
      graceMs: 5000,
    })
    servers.push(server)
    const isUp = async () =>
      (await connect(user)
        .ping()
        .catch(() => '')) === 'PONG'
    await until(isUp, 10_000, 'Redis did not start')
    return server
  }
})
afterAll(async () => {
  for (const client of clients) client.disconnect()
  for (const server of servers) await server.stop()
  await rm(folder, { recursive: true, force: true })
})

test('what transactions and scripts wrote is there after a crash, and only the one user can log in', async () => {
  const first = await start()
  const before = connect(user)
  await before.multi().set('transaction', '1').set('its other key', '1').exec()
  await before.eval("redis.call('SET', 'script', '1') redis.call('HSET', 'its hash', 'a', '1')", 0)
  await before.set('command', '1')
  await first.stop()

  await start()
  const after = connect(user)
  const [, keys] = await after.scan('0', 'COUNT', 1000)
  expect(keys.sort()).toEqual(['command', 'its hash', 'its other key', 'script', 'transaction'])
  await expect(connect().set('a', 1)).rejects.toThrow('NOAUTH')
  for (const password of ['', 'default', 'x']) {
    await expect(after.call('AUTH', 'default', password)).rejects.toThrow('WRONGPASS')
  }
})
