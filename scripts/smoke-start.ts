import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { withSession } from '@escala/kit/postgres/session'
import { freePort, isAlive } from '@escala/servers/processes'
import { until } from '@escala/servers/waiting'
import { readCommandLine } from '../infra/local/command-line.ts'
import { createPm2 } from '../infra/pm2/pm2.ts'

const usage = `usage: npm run smoke:start

Does what a user does with npm start, on a free port and with data of its own: start, log in, deploy, scale, kill, restart.
Takes about two minutes. Exits with 1 at the first step that fails, and stops what it started in any case.`

readCommandLine(usage, {})
const root = join(import.meta.dirname, '..')
const folder = mkdtempSync(join(tmpdir(), 'escala-smoke-'))
const pm2 = createPm2(join(folder, 'pm2'))
const port = await freePort()
const url = `http://127.0.0.1:${port}`
// A busy machine may need longer than a request should: that is not what is tested here.
const env = {
  ...process.env,
  ESCALA_FOLDER: folder,
  RATE_LIMIT_PER_MINUTE: '1000000',
  REDIS_TIMEOUT_MS: '3000',
  DATABASE_TIMEOUT_MS: '6000',
}
/** What the sample adds: a public route, and something that a worker has to finish. */
const sample: {
  path: string
  order?(cookie: string): Promise<string>
  check?(id: string, cookie: string): Promise<void>
} = {
  path: '/v1/openapi.json',
}
const began = Date.now()
const started: ChildProcess[] = []

interface Program {
  child: ChildProcess
  output(): string
  exited: Promise<number | null>
}

function npm(args: string[], extra: Record<string, string> = {}): Program {
  let output = ''
  const child = spawn('npm', args, {
    cwd: root,
    env: { ...env, ...extra },
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  child.stdout.on('data', (chunk) => (output += chunk))
  child.stderr.on('data', (chunk) => (output += chunk))
  started.push(child)
  return { child, output: () => output, exited: new Promise((resolve) => child.once('exit', resolve)) }
}

function say(line: string) {
  console.log(`${((Date.now() - began) / 1000).toFixed(1).padStart(5)} s  ${line}`)
}

async function startAll(): Promise<Program> {
  const program = npm(['start', '--', '--replicas', '3', '--port', String(port)])
  const ready = () => {
    if (program.child.exitCode !== null) throw new Error(`npm start ended:\n${program.output()}`)
    return program.output().includes('Ctrl-C stops everything')
  }
  await until(ready, 60_000, () => `npm start was not ready after 60 s:\n${program.output()}`)
  return program
}

async function api(method: string, where: string, body?: unknown, headers: Record<string, string> = {}) {
  const response = await fetch(`${url}${where}`, {
    method,
    // A connection of its own: one that is kept may be closed under a request when NGINX reloads.
    headers: { 'content-type': 'application/json', connection: 'close', ...headers },
    body: body === undefined ? undefined : JSON.stringify(body),
    signal: AbortSignal.timeout(20_000),
  })
  const text = await response.text()
  return { status: response.status, headers: response.headers, body: text === '' ? undefined : JSON.parse(text) }
}

async function logIn(output: string): Promise<string> {
  const password = /password +(\S+)/.exec(output)?.[1]
  const answer = await api('POST', '/v1/session', { email: 'customer@example.com', password })
  assert.equal(answer.status, 200, 'the seeded customer can log in with the password that was printed')
  return answer.headers
    .getSetCookie()
    .map((cookie) => cookie.split(';')[0])
    .join('; ')
}

async function replicasSeen(): Promise<string[]> {
  const answers = await Promise.all(Array.from({ length: 30 }, () => api('GET', sample.path)))
  for (const answer of answers) assert.equal(answer.status, 200)
  return [...new Set(answers.map((answer) => answer.headers.get('x-replica-id') ?? 'none'))].sort()
}

// sample
sample.path = '/v1/shows'
const statusOfOrder = async (id: string, cookie: string) =>
  (await api('GET', `/v1/orders/${id}`, undefined, { cookie }).catch(() => undefined))?.body?.status
sample.order = async (cookie) => {
  const shows = await api('GET', '/v1/shows')
  const headers = { cookie, 'idempotency-key': crypto.randomUUID() }
  const order = await api('POST', `/v1/shows/${shows.body.items[0].id}/orders`, { quantity: 1 }, headers)
  assert.equal(order.status, 201)
  const confirmed = async () => (await statusOfOrder(order.body.id, cookie)) === 'confirmed'
  await until(confirmed, 15_000, 'the order was not confirmed within 15 s')
  return order.body.id
}
sample.check = async (id, cookie) => {
  assert.equal(await statusOfOrder(id, cookie), 'confirmed', 'the order is still there')
}
// /sample

/** Sends about 50 requests a second until stopped; resolves to what went wrong. */
function traffic(cookie: string): () => Promise<{ sent: number; failed: string[] }> {
  let stopped = false
  let sent = 0
  const failed: string[] = []
  const client = async () => {
    while (!stopped) {
      sent++
      const where = sent % 2 ? sample.path : '/v1/session'
      const answer = await api('GET', where, undefined, { cookie }).catch((error) => ({
        status: 0,
        body: String(error),
      }))
      if (answer.status !== 200) failed.push(`${where} ${answer.status} ${JSON.stringify(answer.body)}`)
      await wait(100)
    }
  }
  const clients = Promise.all(Array.from({ length: 5 }, client))
  return async () => {
    stopped = true
    await clients
    return { sent, failed }
  }
}

async function underTraffic(cookie: string, what: string, work: () => Promise<void>) {
  const stopTraffic = traffic(cookie)
  await work()
  const { sent, failed } = await stopTraffic()
  assert.deepEqual(failed, [], `0 of ${sent} requests fail during ${what}`)
  say(`${what}: 0 of ${sent} requests failed`)
}

/** Log lines are where the pages say, and each script finds this system, wherever its ports are. */
async function logsAndScripts(work: string | undefined) {
  const { headers } = await api('GET', sample.path)
  const id = headers.get('x-request-id') ?? 'none'
  const files = () =>
    readdirSync(join(folder, 'pm2/logs')).map((name) => readFileSync(join(folder, 'pm2/logs', name), 'utf8'))
  const line = () => files().some((text) => text.includes(`"requestId":"${id}"`))
  await until(line, 5000, `no file in .escala/pm2/logs has a line about the request ${id}`)
  const shown = await pm2.command(['logs', 'api', '--nostream', '--lines', '200'])
  assert.ok(shown.includes(id), `pm2 logs api shows the request ${id}:\n${shown}`)

  const script = async (args: string[], pattern: RegExp) => {
    const program = npm(['run', '--silent', ...args], { RATE_LIMIT_PER_MINUTE: '' })
    assert.equal(await program.exited, 0, `npm run ${args.join(' ')}:\n${program.output()}`)
    assert.match(program.output(), pattern)
  }
  const replicas = await replicasSeen()
  await script(['scale:check'], new RegExp(replicas.join('[\\s\\S]*')))
  await script(['jobs'], /no dead letters/)
  await script(['users', '--', 'none', 'customer@example.com'], /has no role now/)
  await script(['flags'], sample.order ? /=/ : /^/)
  await script(['trace', '--', id], / request {2}.*status=200/)
  if (work) await script(['trace', '--', work], /job/)
  say('log lines and scripts are where the pages say')
}

/** Nothing that was accepted is lost when PM2's daemon dies, and with it its replicas. */
async function pm2Dies(cookie: string) {
  const replicas = await replicasSeen()
  const daemon = pm2.daemonPid() as number
  const work = sample.order?.(cookie)
  await wait(100)
  const began = Date.now()
  process.kill(daemon, 'SIGKILL')
  const serves = async () => {
    const { status, headers } = await api('GET', sample.path).catch(() => ({ status: 0, headers: new Headers() }))
    return status === 200 && !replicas.includes(headers.get('x-replica-id') ?? '')
  }
  await until(serves, 20_000, 'it does not serve again')
  say(`PM2 was killed; new replicas answered after ${((Date.now() - began) / 1000).toFixed(1)} s`)
  assert.ok(Date.now() - began < 10_000, 'PM2 is started again within 10 s')
  await work
  const programs = () =>
    processesLeft().filter((pid) => /\/src\/main\.ts/.test(readFileSync(`/proc/${pid}/cmdline`, 'utf8')))
  await until(
    () => programs().length === replicas.length + 1,
    10_000,
    () => `strays: ${programs()}`,
  )
}

/** Places of killed processes are free before three heartbeats are missed: who comes after them may need those. */
async function replicasAreKilled() {
  const killed = (await pm2.list('api')).map(({ pid }) => pid)
  for (const pid of killed) process.kill(pid, 'SIGKILL')
  const { env } = JSON.parse(readFileSync(join(folder, 'running.json'), 'utf8'))
  const places = await withSession({ url: env.DATABASE_URL, applicationName: 'smoke' }, async (session) => {
    const ids = async () => (await session.query<{ id: string }>('SELECT id FROM replicas')).rows.map(({ id }) => id)
    const isFree = async () => (await ids()).every((id) => killed.every((pid) => !id.endsWith(`-${pid}`)))
    return await until(isFree, 10_000, 'the places of the replicas that were killed are not free')
  })
  assert.ok(places)
  await until(
    async () => (await replicasSeen().catch(() => [])).length === killed.length,
    20_000,
    'they do not serve again',
  )
  say('replicas that were killed left their places at once, and serve again')
}

/** Everything that was started inherited the name of the folder; on Linux that finds it again. */
function processesLeft(): number[] {
  if (process.platform !== 'linux') return []
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => {
      try {
        return isAlive(pid) && readFileSync(`/proc/${pid}/environ`, 'utf8').includes(`ESCALA_FOLDER=${folder}`)
      } catch {
        return false
      }
    })
}

async function nothingIsLeft() {
  const names = () =>
    processesLeft().map((pid) => `${pid} ${readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ')}`)
  await until(
    () => processesLeft().length === 0,
    30_000,
    () => `still running:\n${names().join('\n')}`,
  )
}

try {
  const first = await startAll()
  say('npm start is ready')
  const before = await replicasSeen()
  assert.equal(before.length, 3, `three replicas answer: ${before}`)
  const cookie = await logIn(first.output())
  const work = await sample.order?.(cookie)
  say(`three replicas answer, the customer is logged in${work ? ', an order is confirmed' : ''}`)

  await logsAndScripts(work)

  const again = npm(['start', '--', '--port', String(port + 1)])
  assert.notEqual(await again.exited, 0, 'a second npm start from the same folder is refused')
  assert.match(again.output(), /already runs/)

  const stopTraffic = traffic(cookie)
  const broken = npm(['run', 'deploy'], { VERSION: 'x'.repeat(101) })
  assert.equal(await broken.exited, 1, `a version that cannot start is not deployed:\n${broken.output()}`)
  assert.deepEqual(await replicasSeen(), before, 'and leaves the old replicas serving')
  say('a version that never gets ready was refused')
  const unshared = npm(['run', 'deploy'], { SESSION_SECRETS: 'a new secret that no other replica knows' })
  assert.equal(await unshared.exited, 1, `a session secret of its own is not deployed:\n${unshared.output()}`)
  assert.match(unshared.output(), /settings that change: SESSION_SECRETS\n[\s\S]*E_SECRETS_DIFFER/)
  const deploy = npm(['run', 'deploy'], { VERSION: 'second', RATE_LIMIT_PER_MINUTE: '987654' })
  assert.equal(await deploy.exited, 0, `npm run deploy:\n${deploy.output()}`)
  const { sent, failed } = await stopTraffic()
  assert.deepEqual(failed, [], `0 of ${sent} requests fail while replicas are replaced`)
  const after = await replicasSeen()
  assert.equal(after.length, 3)
  assert.ok(
    after.every((replica) => !before.includes(replica)),
    `every replica was replaced: ${before} → ${after}`,
  )
  const policy = (await api('GET', sample.path)).headers.get('ratelimit-policy') ?? ''
  assert.match(policy, /987654/, 'the new environment takes effect')
  say(`every replica was replaced, 0 of ${sent} requests failed`)

  await underTraffic(cookie, 'pm2 scale and pm2 reload', async () => {
    await pm2.command(['scale', 'api', '2'])
    await until(async () => (await replicasSeen()).length === 2, 20_000, 'one of three replicas did not leave')
    await pm2.command(['scale', 'api', '4'])
    await until(async () => (await replicasSeen()).length === 4, 20_000, 'NGINX did not follow to four replicas')
    await pm2.command(['scale', 'api', '2']) // the oldest leave: from here on, NGINX serves by none of its first three
    await until(async () => (await replicasSeen()).length === 2, 20_000, 'two of four replicas did not leave')
    const older = await replicasSeen()
    await pm2.command(['reload', 'api'])
    const newer = await replicasSeen()
    assert.ok(
      newer.length === 2 && newer.every((replica) => !older.includes(replica)),
      `pm2 reload replaced both: ${older} → ${newer}`,
    )
  })
  await pm2Dies(cookie)

  const exits = [
    ...readFileSync(join(folder, 'pm2/pm2.log'), 'utf8').matchAll(/App \[api:\w+\] exited with code \[(\d+)\]/g),
  ]
  assert.ok(exits.length >= 8, 'the replicas that left are in the log of PM2')
  assert.deepEqual([...new Set(exits.map(([, code]) => code))], ['0'], 'each drained and exited with 0')

  // As a terminal does, and as some shells do, twice at once.
  for (let times = 0; times < 2; times++) process.kill(-(first.child.pid ?? 0), 'SIGINT')
  await first.exited
  assert.match(first.output(), /everything is stopped/)
  await nothingIsLeft()
  say('Ctrl-C left nothing running')

  const second = await startAll()
  const cookieAgain = await logIn(second.output())
  if (work) await sample.check?.(work, cookieAgain)
  const session = await api('GET', '/v1/session', undefined, { cookie })
  assert.equal(session.status, 200, 'the first log-in still counts: sessions survive a restart')
  say('a second start found its data')
  // As `npm start | head`: the system keeps running after the reader of its output has gone.
  for (const output of [second.child.stdout, second.child.stderr]) output?.destroy()
  await pm2.command(['scale', 'api', '2'])
  await until(async () => (await replicasSeen()).length === 2, 20_000, 'one of three replicas did not leave')
  say('the readers of its output left, and it goes on')
  await replicasAreKilled()
  second.child.kill('SIGKILL')
  await nothingIsLeft()
  say('killing npm left nothing running')
  console.log('smoke:start passed')
} catch (error) {
  console.error(error)
  process.exitCode = 1
} finally {
  for (const { pid, exitCode, signalCode } of started) {
    if (pid && exitCode === null && signalCode === null) process.kill(-pid, 'SIGTERM')
  }
  await nothingIsLeft().catch((error) => {
    console.error(error)
    process.exitCode = 1
  })
  rmSync(folder, { recursive: true, force: true })
}
process.exit()
