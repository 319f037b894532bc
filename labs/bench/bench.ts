import { randomBytes } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { createClient, expectStatus } from '@escala/testing/client.ts'
import { templateDatabase } from '@escala/testing/template.ts'
import { createTestDatabase } from '@escala/testing/test-database.ts'
import { createLifetime } from '../../infra/local/lifetime.ts'
import { freePort, startProcess, waitForServer } from '../../infra/local/processes.ts'
import { findBinaries, type LocalServer, startNginx, startPostgres, startRedis } from '../../infra/local/servers.ts'
import { cpuOf, systemCalls } from './cpu.ts'
import { measureHotRow } from './hot-row.ts'
import { type Load, load } from './load.ts'

// npm run bench [-- --quick]
//
// What the kit costs. All variants are up all the time, warmed by count, and measured in turns, forwards and backwards:
// whatever else the machine does meets each of them. Ratios within one round count, requests a second do not.
const { values } = parseArgs({ options: { quick: { type: 'boolean' } } })
const size = values.quick
  ? { warmUp: 5000, rounds: 3, windowMs: 1000, traced: 2000, hotRowMs: 1000 }
  : { warmUp: 30_000, rounds: 6, windowMs: 2000, traced: 10_000, hotRowMs: 2000 }
const connections = 32
const sessions = 20

const lifetime = createLifetime()
const root = join(import.meta.dirname, '../..')
const folder = await mkdtemp(join(tmpdir(), 'escala-bench-'))
const stops: (() => Promise<unknown>)[] = [() => rm(folder, { recursive: true, force: true })]

interface Variant {
  name: string
  url: string
  path: string
  cookies: string[]
  /** Of the Node process, and of its NGINX. */
  pids: Record<'node' | 'nginx', number>
}

interface Window extends Load {
  /** Microseconds for each answer. */
  cpu: Record<string, number>
}

async function bench(): Promise<void> {
  const binaries = await findBinaries(console.log)
  const { postgres: pg, redis: rd, nginx: ng } = binaries
  console.log(`Postgres ${pg.version}, Redis ${rd.version}, NGINX ${ng.version}, Node ${process.versions.node}`)
  const keep = <T extends { stop(): Promise<void> }>(server: T): T => {
    stops.push(server.stop)
    return server
  }
  const [postgres, redis] = await Promise.all([
    startPostgres({ binaries, dataDir: join(folder, 'postgres'), password: 'bench' }).then(keep),
    startRedis({ binaries, dir: join(folder, 'redis') }).then(keep),
  ])
  const database = await createTestDatabase(postgres.url, { template: await templateDatabase(postgres.url) })

  const startNode = async (name: string, file: string, env: Record<string, string> = {}) => {
    const port = await freePort()
    const logFile = join(folder, `${name}.log`)
    const server = keep(
      startProcess({
        name,
        command: process.execPath,
        args: [join(root, file)],
        cwd: root,
        logFile,
        signals: ['SIGTERM'],
        env: {
          PATH: process.env.PATH,
          NODE_ENV: 'production',
          HOST: '127.0.0.1',
          PORT: String(port),
          DATABASE_URL: database.url,
          REDIS_URL: redis.url,
          CACHE_REDIS_URL: redis.url,
          SESSION_SECRETS: secret,
          ...env,
        },
      }),
    )
    const address = `http://127.0.0.1:${port}`
    await waitForServer(server, { name, logFile }, () =>
      fetch(address).then(
        () => true,
        () => false,
      ),
    )
    return { address, port, pid: server.pid }
  }
  const behind = async (name: string, port: number, settings?: Record<string, string>): Promise<LocalServer> =>
    keep(await startNginx({ binaries, dir: join(folder, `nginx-${name}`), replicas: [`127.0.0.1:${port}`], settings }))

  const secret = randomBytes(32).toString('hex')
  const kit = await startNode('kit', 'apps/api/src/main.ts', { RATE_LIMIT_PER_MINUTE: '1000000', REFUSE_MS: '0' })
  const user = await createClient(kit.address).signUp()
  const naive = await startNode('naive', 'labs/bench/naive.ts')
  const bare = await startNode('bare', 'labs/bench/bare.ts', { USER_ID: user.id })
  const logIns = async (logIn: (client: ReturnType<typeof createClient>) => Promise<unknown>, address: string) => {
    const cookies: string[] = []
    for (let i = 0; i < sessions; i++) {
      const client = createClient(address, { headers: { 'x-forwarded-for': `10.0.0.${i + 1}` } })
      await logIn(client)
      cookies.push([...client.cookies].map((pair) => pair.join('=')).join('; '))
      client.close()
    }
    return cookies
  }
  const path = '/v1/session'
  const [kitNginx, naiveNginx, bareNginx] = await Promise.all([
    behind('kit', kit.port),
    behind('naive', naive.port),
    behind('bare', bare.port),
  ])
  // HTTP 1.0 has no keep-alive: what one proxy_set_header too many does to a location, in any version of NGINX.
  const closing = await behind('closing', bare.port, { proxy_http_version: '1.0' })
  const variants: Variant[] = [
    { name: 'bare', url: bareNginx.url, path, cookies: [], pids: { node: bare.pid, nginx: bareNginx.pid } },
    {
      name: 'kit',
      url: kitNginx.url,
      path,
      cookies: await logIns((client) => client.logIn(user.email, user.password), kit.address),
      pids: { node: kit.pid, nginx: kitNginx.pid },
    },
    {
      name: 'naive',
      url: naiveNginx.url,
      path,
      cookies: await logIns(
        async (client) => expectStatus(await client.post(`/log-in/${user.id}`), 200),
        naive.address,
      ),
      pids: { node: naive.pid, nginx: naiveNginx.pid },
    },
  ]
  const hello = (name: string, { url, pid }: LocalServer): Variant => ({
    name,
    url,
    path: '/hello',
    cookies: [],
    pids: { node: bare.pid, nginx: pid },
  })
  variants.push(hello('keep-alive', bareNginx), hello('no keep-alive', closing))

  const measure = async (variant: Variant): Promise<Window> => {
    const pids = { ...variant.pids, redis: redis.pid, postgres: postgres.pid }
    const read = () => Object.entries(pids).map(([name, pid]) => [name, cpuOf(pid)] as const)
    const before = new Map<string, number>(read())
    const seen = await load({ ...variant, connections, until: { ms: size.windowMs } })
    const cpu = read().map(([name, after]) => [name, (after - (before.get(name) ?? 0)) / seen.answers])
    return { ...seen, cpu: Object.fromEntries(cpu) }
  }

  console.log(`warming up: ${size.warmUp} requests each`)
  for (const variant of variants) await load({ ...variant, connections, until: { answers: size.warmUp } })
  const windows = new Map<string, Window[]>(variants.map(({ name }) => [name, []]))
  for (let round = 0; round < size.rounds; round++) {
    lifetime.ended.throwIfAborted()
    for (const variant of round % 2 ? [...variants].reverse() : variants) {
      windows.get(variant.name)?.push(await measure(variant))
    }
    console.log(`round ${round + 1} of ${size.rounds}`)
  }
  const of = (name: string) => windows.get(name) ?? []
  const perSecond = ({ answers, seconds }: Window) => answers / seconds
  const sum = ({ cpu }: Window) => Object.values(cpu).reduce((a, b) => a + b, 0)
  const ratio = (a: string, b: string, value: (window: Window) => number) =>
    summary(of(a).map((window, i) => value(window) / value(of(b)[i] as Window)))

  console.log('\nmicroseconds of processor time for each request, medians')
  console.log(row('', 'node', 'nginx', 'redis', 'postgres', 'sum', 'requests/s'))
  for (const { name } of variants) {
    const median = (value: (window: Window) => number) => summary(of(name).map(value)).median
    const parts = ['node', 'nginx', 'redis', 'postgres'].map((part) => median(({ cpu }) => cpu[part] ?? 0))
    console.log(row(name, ...[...parts, median(sum), median(perSecond)].map((value) => value.toFixed(0))))
  }

  const calls = new Map<string, number | undefined>()
  for (const variant of variants.slice(0, 3)) {
    const work = () => load({ ...variant, connections, until: { answers: size.traced } })
    const total = await systemCalls(variant.pids.node, work)
    calls.set(variant.name, total && total / size.traced)
  }

  console.log('\nratios within a round: median [least – most]')
  const share = ratio('kit', 'bare', perSecond)
  tell('requests a second, kit to bare', share, '≥ 0.45', share.median >= 0.45)
  const naiveShare = ratio('naive', 'bare', perSecond)
  tell('requests a second, naive to bare', naiveShare)
  const cost = ratio('kit', 'naive', sum)
  if (cost.median > 0) tell('processor time, kit to naive', cost, '≤ 0.70', cost.median <= 0.7)
  const keepAlive = ratio('keep-alive', 'no keep-alive', perSecond)
  tell('requests a second, keep-alive to none', keepAlive, '≥ 1.7', keepAlive.median >= 1.7)
  for (const [name, perRequest] of calls) {
    const value = perRequest === undefined ? 'not counted: strace is not there' : perRequest.toFixed(2)
    tell(`system calls a request, ${name}`, value, name === 'kit' ? '≤ 5.5' : '', (perRequest ?? 0) <= 5.5)
  }

  console.log('\norders on one row, 30 at a time, to a Redis lock’s: median [least – most]')
  for (const { name, ratio, oversold } of await measureHotRow({
    databaseUrl: database.url,
    redisUrl: redis.url,
    ...size,
  })) {
    tell(name, summary(ratio), `oversold ${oversold}`)
  }
}

interface Summary {
  median: number
  least: number
  most: number
}

function summary(values: number[]): Summary {
  const sorted = values.toSorted((a, b) => a - b)
  return { median: sorted[sorted.length >> 1] ?? 0, least: sorted[0] ?? 0, most: sorted.at(-1) ?? 0 }
}

function tell(what: string, value: Summary | string, budget = '', isWithin?: boolean): void {
  const text =
    typeof value === 'string'
      ? value
      : `${value.median.toFixed(2)} [${value.least.toFixed(2)} – ${value.most.toFixed(2)}]`
  const mark = budget === '' || isWithin === undefined ? '' : isWithin ? '✓ ' : '✗ '
  console.log(`  ${what.padEnd(50)} ${text.padEnd(22)} ${mark}${budget}`.trimEnd())
}

function row(name: string, ...cells: string[]): string {
  return `  ${name.padEnd(15)}${cells.map((cell) => cell.padStart(11)).join('')}`
}

try {
  await bench()
} catch (error) {
  if (!lifetime.ended.aborted) console.error(error)
  process.exitCode = 1
}
for (const stop of stops.reverse()) await stop()
process.exit()
