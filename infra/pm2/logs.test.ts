import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { Agent, get } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { freePort, guard } from '@escala/servers/processes'
import { until } from '@escala/servers/waiting'
import { beforeAll, expect, test, vi } from 'vitest'
import { createPm2 } from './pm2.ts'

// Lines of a replica under a real PM2 in cluster mode, where its descriptor 1 is the log of PM2's daemon.

const home = mkdtempSync(join(tmpdir(), 'escala-pm2-'))
const pm2 = createPm2(home)
const kit = new URL('../../packages/kit/src/', import.meta.url)
const program = `
  import { createServer } from 'node:http'
  import { once } from 'node:events'
  import { runProcess } from '${kit}lifecycle/process.ts'
  import { createLog, lostLogLines } from '${kit}log/log.ts'
  const log = createLog({ service: 'api', replicaId: 'r' + process.env.PORT, version: '1' })
  const server = createServer({ keepAliveTimeout: 60_000 }, (req, res) => {
    for (let n = 0; n < 20; n++) log.info({ path: req.url, text: 'x'.repeat(Number(req.headers['x-length'] ?? 0)) }, 'request')
    res.end(String(lostLogLines()))
  })
  await runProcess(async () => ({
    log,
    async start() { await once(server.listen(Number(process.env.PORT), '127.0.0.1'), 'listening') },
    async stop() { server.close(), server.closeAllConnections() },
  }))`

vi.setConfig({ testTimeout: 60_000 }) // each runs PM2's command

let port: number
beforeAll(async () => {
  port = await freePort()
  writeFileSync(join(home, 'package.json'), '{"type":"module"}')
  writeFileSync(join(home, 'replica.ts'), program)
  const app = { name: 'api', script: 'replica.ts', cwd: home, exec_mode: 'cluster', instances: 2, wait_ready: true }
  const apps = [{ ...app, merge_logs: true, pmx: false, increment_var: 'PORT', env: { PORT: String(port) } }]
  writeFileSync(join(home, 'apps.config.cjs'), `module.exports = ${JSON.stringify({ apps })}`)
  await pm2.command(['start', join(home, 'apps.config.cjs')]).catch(async (error) => {
    await pm2.command(['kill'])
    throw error
  })
  const release = guard(pm2.daemonPid() as number, 'SIGTERM')
  return async () => {
    agent.destroy()
    await pm2.command(['kill'])
    release()
    rmSync(home, { recursive: true })
  }
})

// One connection to each: new ones are accepted by PM2's daemon, on behalf of its replicas.
const agent = new Agent({ keepAlive: true, maxSockets: 1 })
const ask = (path: string, textLength = 0, to = port) =>
  new Promise<number>((resolve, reject) => {
    const headers = { 'x-length': String(textLength) }
    get({ host: '127.0.0.1', port: to, path, agent, headers, timeout: 5000 }, async (answer) => {
      resolve(Number((await answer.toArray()).join('')))
    })
      .on('timeout', () => reject(new Error('no answer within 5 s')))
      .on('error', reject)
  })
const outFile = () => readFileSync(join(home, 'logs/api-out.log'), 'utf8')
const lines = () =>
  outFile()
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line))

test('each replica’s lines are in the file of its name, and in what `pm2 logs` prints', async () => {
  await ask('/one')
  await ask('/two', 0, port + 1)
  const seen = () => lines().filter(({ msg }) => msg === 'request').length === 40
  await until(seen, 5000, () => `not all lines arrived:\n${outFile()}`)
  expect(lines().filter(({ path, replicaId }) => path === '/two' && replicaId === `r${port + 1}`)).toHaveLength(20)
  expect(await pm2.command(['logs', 'api', '--nostream', '--lines', '50'])).toContain('"path":"/one"')
  expect(readFileSync(join(home, 'pm2.log'), 'utf8')).not.toContain('"path"')
})

test('a daemon of PM2 that stands still costs lines, not memory', async () => {
  const daemon = pm2.daemonPid() as number
  process.kill(daemon, 'SIGSTOP')
  try {
    let lost = 0
    for (let n = 0; n < 300 && lost === 0; n++) lost = await ask('/many', 500)
    expect(lost).toBeGreaterThan(0)
  } finally {
    process.kill(daemon, 'SIGCONT')
  }
  await until(() => outFile().includes('log lines were lost'), 10_000, 'the loss was not reported')
})

test('the last lines before the exit are there', async () => {
  await pm2.command(['stop', 'api'])
  const stopped = lines().filter(({ msg }) => msg === 'stopped')
  expect(stopped).toHaveLength(2)
})
