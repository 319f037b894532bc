import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { isAlive } from '@escala/servers/processes'
import pg from 'pg'
import { afterAll, afterEach, expect, test, vi } from 'vitest'
import { type Cluster, type ClusterOptions, startCluster } from './any-cluster.ts'

// A program that knows nothing of Escala, in plain JavaScript: it says who it is, and counts for itself.
const server = `
  import { createServer } from 'node:http'
  let count = 0
  const { PORT, REPLICA_ID, GREETING = '', DATABASE_URL = '', REDIS_URL = '', SECRET = '' } = process.env
  const port = PORT ?? process.argv[process.argv.indexOf('--port') + 1]
  const http = createServer((req, res) => {
    if (req.url === '/ready') return res.writeHead(process.uptime() > 0.3 ? 200 : 503).end('not yet')
    if (req.url === '/exit') process.exit(3)
    res.end(JSON.stringify({ id: REPLICA_ID, count: ++count, GREETING, DATABASE_URL, REDIS_URL, SECRET }))
  })
  http.listen(Number(port), '127.0.0.1')
  process.on('SIGTERM', () => http.close(() => process.exit(0)).closeIdleConnections())`

const folder = mkdtempSync(join(tmpdir(), 'escala-any-'))
writeFileSync(join(folder, 'server.mjs'), server)
afterAll(() => rmSync(folder, { recursive: true }))

let cluster: Cluster | undefined
afterEach(async () => {
  await cluster?.stop()
  cluster = undefined
})

async function start(options: Partial<ClusterOptions> = {}): Promise<Cluster> {
  cluster = await startCluster({ command: ['node', 'server.mjs'], cwd: folder, ...options })
  return cluster
}

interface Said {
  id: string
  count: number
  GREETING: string
  DATABASE_URL: string
  REDIS_URL: string
  SECRET: string
}
const ask = async (url: string) => (await (await fetch(url, { signal: AbortSignal.timeout(5000) })).json()) as Said
const idsOf = async (url: string) => {
  const answers = await Promise.all(Array.from({ length: 12 }, () => ask(url)))
  return [...new Set(answers.map(({ id }) => id))].sort()
}

test('starts any program three times, each reachable alone and all through NGINX', async () => {
  const { url, replicas } = await start({ nginx: true, readyPath: '/ready' })
  expect(await idsOf(url)).toEqual(['api-1', 'api-2', 'api-3'])
  expect((await ask(replicas[1]?.url ?? '')).id).toBe('api-2')

  await replicas[0]?.kill()
  expect(await idsOf(url)).toEqual(['api-2', 'api-3'])
  await replicas[0]?.restart()
  await vi.waitFor(async () => expect(await idsOf(url)).toHaveLength(3), 10_000)
})

test('scales, and replaces each by the next version while the others serve', async () => {
  const { url, replicas, scale, rollingRestart } = await start({ nginx: true, replicas: 2 })
  await scale(4)
  expect(await idsOf(url)).toHaveLength(4)
  await scale(2)
  expect(await idsOf(url)).toEqual(['api-1', 'api-2'])

  expect(await rollingRestart({ env: { GREETING: 'hello' } })).toEqual([0, 0])
  expect(await idsOf(url)).toEqual(['api-5', 'api-6'])
  expect((await ask(replicas[0]?.url ?? '')).GREETING).toBe('hello')
})

test('gives Postgres and Redis behind proxies, and runs what must come before the first replica', async () => {
  const prepare = `import { writeFileSync } from 'node:fs'; writeFileSync(${JSON.stringify(join(folder, 'prepared'))}, process.env.DATABASE_URL)`
  const started = await start({
    replicas: 1,
    postgres: { settings: { max_connections: '20' } },
    redis: true,
    faults: true,
    prepare: ['node', '--input-type=module', '-e', prepare],
  })
  const { DATABASE_URL, REDIS_URL } = await ask(started.replicas[0]?.url ?? '')
  expect(DATABASE_URL).toBe(started.postgresProxy.url)
  expect(REDIS_URL).toBe(started.redisProxy.url)
  expect(existsSync(join(folder, 'prepared'))).toBe(true)

  const client = new pg.Client(DATABASE_URL)
  client.on('error', () => undefined)
  await client.connect()
  expect((await client.query('SHOW max_connections')).rows).toEqual([{ max_connections: '20' }])
  started.postgresProxy.reset()
  await expect(client.query('SELECT')).rejects.toThrow()
})

test('nothing of the caller’s environment reaches a replica', async () => {
  vi.stubEnv('SECRET', 'of the shell')
  const { replicas } = await start({ replicas: 1 })
  expect((await ask(replicas[0]?.url ?? '')).SECRET).toBe('')
  vi.unstubAllEnvs()
})

test('gives the port as an argument to a program that reads none from its environment', async () => {
  const { replicas } = await start({ replicas: 1, portEnv: 'NO_PORT', portFlag: '--port' })
  expect((await ask(replicas[0]?.url ?? '')).id).toBe('api-1')
})

test('NGINX runs with a configuration of the caller’s own', async () => {
  const conf = (listen: string, replicas: string[]) => `
    pid nginx.pid; events {} http { access_log off; upstream mine { ${replicas.map((it) => `server ${it};`).join(' ')} }
    server { listen ${listen}; location / { proxy_pass http://mine; add_header x-mine yes; } } }`
  const { url } = await start({ replicas: 2, nginx: { conf } })
  const response = await fetch(url)
  expect([response.status, response.headers.get('x-mine')]).toEqual([200, 'yes'])
})

test('what does not become ready is an error with the end of its log, and leaves nothing behind', async () => {
  const before = readdirSync(tmpdir()).filter((name) => name.startsWith('escala-cluster-')).length
  const command: [string, ...string[]] = ['node', '-e', 'console.log("no such setting"); process.exit(1)']
  await expect(startCluster({ command })).rejects.toThrow(/ended before it was ready[\s\S]*no such setting/)
  expect(readdirSync(tmpdir()).filter((name) => name.startsWith('escala-cluster-')).length).toBe(before)
  await expect(startCluster({ command: ['no-such-program'] })).rejects.toThrow('no-such-program')
  await expect(startCluster({ command, replicas: 0 })).rejects.toThrow('replicas')
  await expect(startCluster({ command, prepare: ['node', '-e', 'throw new Error("no table")'] })).rejects.toThrow(
    'no table',
  )
})

test('ends what a replica has started, too', async () => {
  const shell = ['sh', '-c', 'node server.mjs & echo "child=$!"; wait'] satisfies [string, ...string[]]
  const { replicas, stop } = await start({ command: shell, replicas: 1 })
  const child = Number(/child=(\d+)/.exec(replicas[0]?.logs() ?? '')?.[1])
  expect(isAlive(child)).toBe(true)
  await stop()
  await vi.waitFor(() => expect(isAlive(child)).toBe(false), 5000)
})

test('asking for what was not started says which option starts it', async () => {
  const started = await start({ replicas: 1 })
  expect(() => started.url).toThrow('start the cluster with `nginx`')
  expect(() => started.databaseUrl).toThrow('`postgres`')
})
