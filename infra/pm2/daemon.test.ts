import { spawn } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { freePort, isAlive, run } from '@escala/servers/processes'
import { statusOf, until } from '@escala/servers/waiting'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { createDaemon } from './daemon.ts'
import { basicEnvironment, createPm2, pm2Bounds } from './pm2.ts'

// The end of a real PM2 daemon: its replicas in cluster mode end with it, a worker in fork mode goes on without it.

const home = mkdtempSync(join(tmpdir(), 'escala-daemon-'))
const ecosystem = join(home, 'apps.config.cjs')
const pm2 = createPm2(home)
const daemon = createDaemon({ pm2, home, ecosystem })
vi.setConfig({ testTimeout: 60_000 })

const never = new AbortController().signal
let port: number

const programs = {
  api: `
    import { createServer } from 'node:http'
    createServer((_req, res) => res.end()).listen(Number(process.env.PORT), '127.0.0.1', () => process.send('ready'))`,
  worker: `
    import { appendFileSync } from 'node:fs'
    setInterval(() => {}, 1000)
    process.on('SIGTERM', () => { appendFileSync('drained', process.pid + ' '); process.exit(0) })
    process.on('SIGINT', () => process.exit(0))
    process.send('ready')`,
  stubborn: `
    setInterval(() => {}, 1000)
    for (const signal of ['SIGTERM', 'SIGINT']) process.on(signal, () => {})
    process.send('ready')`,
}

beforeAll(async () => {
  port = await freePort()
  writeFileSync(join(home, 'package.json'), '{"type":"module"}')
  for (const [name, text] of Object.entries(programs)) writeFileSync(join(home, `${name}.js`), text)
  const apps = Object.keys(programs).map((name) => ({
    name,
    script: `${name}.js`,
    cwd: home,
    exec_mode: name === 'api' ? 'cluster' : 'fork',
    interpreter: process.execPath,
    wait_ready: true,
    kill_timeout: 300,
    pmx: false,
    env: name === 'api' ? { PORT: String(port) } : { INTERNAL_PORT: '0' },
  }))
  writeFileSync(ecosystem, `module.exports = ${JSON.stringify({ apps })}`)
  await daemon.start(basicEnvironment(), never)
})
afterAll(async () => {
  await daemon.stop()
  rmSync(home, { recursive: true })
})

const pids = async () => Object.fromEntries((await pm2.list()).map(({ name, pid }) => [name, pid]))
const answers = async () => (await statusOf(`http://127.0.0.1:${port}`)) === 200

test('what can start programs is for this user alone', () => {
  const sockets = readdirSync(home).filter((name) => name.endsWith('.sock'))
  expect(sockets.length).toBeGreaterThan(0)
  for (const path of [home, ...sockets.map((name) => join(home, name))]) {
    expect(`${path} ${(statSync(path).mode & 0o077).toString(8)}`).toBe(`${path} 0`)
  }
})

test('a daemon that stands still holds up no request', async () => {
  const daemonPid = pm2.daemonPid() as number
  process.kill(daemonPid, 'SIGSTOP')
  try {
    for (let i = 0; i < 3; i++) {
      // A separate connection, which has to be accepted.
      const signal = AbortSignal.timeout(3000)
      const { status } = await fetch(`http://127.0.0.1:${port}`, { headers: { connection: 'close' }, signal })
      expect(status).toBe(200)
    }
  } finally {
    process.kill(daemonPid, 'SIGCONT')
  }
})

test('a program that is killed leaves no client of PM2 behind, and its daemon is not in the way', async () => {
  const daemonPid = pm2.daemonPid() as number
  const text = `
    import { createPm2 } from ${JSON.stringify(new URL('pm2.ts', import.meta.url).href)}
    await createPm2(${JSON.stringify(home)}).command(['jlist'])`
  process.kill(daemonPid, 'SIGSTOP') // so that the client waits
  const parent = spawn(process.execPath, ['--input-type=module', '-e', text], { stdio: 'ignore' })
  const processes = async () => {
    const { output } = await run('ps', ['-A', '-o', 'pid=,ppid=,pgid=,args='])
    return output.split('\n').map((line) => {
      const [, pid, ppid, group, command = ''] = /^\s*(\d+)\s+(\d+)\s+(\d+)\s+(.*)/.exec(line) ?? []
      return { pid: Number(pid), ppid: Number(ppid), group: Number(group), command }
    })
  }
  try {
    const client = async () =>
      (await processes()).find(({ ppid, command }) => ppid === parent.pid && command.includes('jlist'))
    const { pid } = await until(client, 10_000, 'no client was started')
    parent.kill('SIGKILL')
    await until(() => !isAlive(pid), 5000, 'the client waits for ever')
    // What ends a client with its whole group must not end the daemon that it has started.
    expect((await processes()).find(({ pid }) => pid === daemonPid)?.group).toBe(daemonPid)
  } finally {
    parent.kill('SIGKILL')
    process.kill(daemonPid, 'SIGCONT')
  }
})

test('a daemon that stands still holds up no command, and its processes drain when it is stopped', async () => {
  const daemonPid = pm2.daemonPid() as number
  const before = await pids()
  process.kill(daemonPid, 'SIGSTOP')
  const patient = createPm2(home, { ...pm2Bounds, answerMs: 1000 })
  try {
    await expect(patient.list()).rejects.toThrow('PM2 did not finish in 1 s')
    const began = Date.now()
    await createDaemon({ pm2: patient, home, ecosystem }).stop()
    expect(Date.now() - began).toBeLessThan(20_000) // 5 s of it for the one that does not want to end
    for (const pid of [daemonPid, ...Object.values(before)]) expect(isAlive(pid)).toBe(false)
    expect(readFileSync(join(home, 'drained'), 'utf8')).toBe(`${before.worker} `)
    rmSync(join(home, 'drained'))
  } finally {
    if (isAlive(daemonPid)) process.kill(daemonPid, 'SIGCONT')
    await daemon.start(basicEnvironment(), never)
  }
})

test('a daemon that dies while it starts or ends fails what waits for it, and does not hang it', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'escala-daemon-'))
  const file = join(folder, 'apps.config.cjs')
  // It ends with the daemon, which may die before it has written down what it has started.
  writeFileSync(join(folder, 'slow.js'), `setInterval(() => {}, 1000); process.on('disconnect', () => process.exit())`)
  const app = { name: 'slow', script: join(folder, 'slow.js'), interpreter: process.execPath, pmx: false }
  writeFileSync(
    file,
    `module.exports = ${JSON.stringify({ apps: [{ ...app, wait_ready: true, listen_timeout: 60_000 }] })}`,
  )
  const other = createPm2(folder)
  const die = async () => {
    const pid = await until(() => other.daemonPid(), 10_000, 'PM2 did not start')
    process.kill(pid, 'SIGSTOP') // so that it does not answer before it dies
    await wait(300) // longer than the interval between two looks at the daemon
    process.kill(pid, 'SIGKILL')
  }
  try {
    const starting = other.command(['start', file])
    starting.catch(() => undefined) // looked at below
    await die()
    await expect(starting).rejects.toThrow('pm2 start')
    await other.command(['ping'])
    const ending = other.command(['kill'])
    await die()
    await ending
  } finally {
    await createDaemon({ pm2: other, home: folder, ecosystem: file }).stop()
    rmSync(folder, { recursive: true })
  }
}, 30_000)

test('a daemon that is killed is noticed, what it left is ended, and it can be started again', async () => {
  const before = await pids()
  expect(await answers()).toBe(true)
  const began = Date.now()
  const noticed = new Promise<void>((resolve) => daemon.watch(resolve))
  const [api] = await pm2.list('api')
  process.kill(pm2.daemonPid() as number, 'SIGSTOP') // so that it does not answer before it dies
  const reloaded = pm2.reload(api?.id ?? 0, {}).catch((error: Error) => error.message)
  await wait(1000)
  process.kill(pm2.daemonPid() as number, 'SIGKILL')
  expect(await reloaded).toContain('PM2 has ended meanwhile')
  await noticed
  await daemon.stop()
  for (const pid of Object.values(before)) expect(isAlive(pid)).toBe(false)
  expect(readFileSync(join(home, 'drained'), 'utf8')).toBe(`${before.worker} `)

  await daemon.start(basicEnvironment(), never)
  await until(answers, 15_000, 'the replica does not answer again')
  expect(Date.now() - began).toBeLessThan(30_000) // 5 s of it for the one that does not want to end
  const after = await pids()
  for (const [name, pid] of Object.entries(after)) expect(pid, name).not.toBe(before[name])
})
