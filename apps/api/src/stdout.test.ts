import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, constants, mkdtempSync, openSync, readSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Readable } from 'node:stream'
import { fileURLToPath } from 'node:url'
import { freePort } from '@escala/servers/processes'
import { statusOf, until } from '@escala/servers/waiting'
import { templateDatabase } from '@escala/testing/template'
import { createTestDatabase } from '@escala/testing/test-database'
import { afterAll, beforeAll, expect, inject, onTestFinished, test, vi } from 'vitest'

// A log line can be lost, a request cannot: a whole replica, as a process of its own, whose standard output has no reader.

vi.setConfig({ testTimeout: 60_000 }) // each starts a process, which a busy machine may take its time for

let database: Awaited<ReturnType<typeof createTestDatabase>>
const folder = mkdtempSync(join(tmpdir(), 'escala-stdout-'))
beforeAll(async () => {
  const template = await templateDatabase(inject('postgresUrl'))
  database = await createTestDatabase(inject('postgresUrl'), { template })
})
afterAll(async () => {
  await database.drop()
  rmSync(folder, { recursive: true })
})

/** A named pipe with a blocking end for the replica and one that reads only on demand. */
function namedPipe(): { write: number; read: number } {
  const path = join(folder, crypto.randomUUID())
  execFileSync('mkfifo', [path])
  const read = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK)
  return { read, write: openSync(path, constants.O_WRONLY) }
}

async function startReplica(stdout: 'pipe' | number) {
  const [port, internalPort] = [await freePort(), await freePort()]
  const child = spawn(process.execPath, [fileURLToPath(new URL('./main.ts', import.meta.url))], {
    stdio: ['ignore', stdout, 'inherit'],
    env: {
      PATH: process.env.PATH,
      REPLICA_ID: `stdout-${port}`,
      DATABASE_URL: database.url,
      // a numbered database of its own: its requests use up the limits of this address
      REDIS_URL: `${inject('redisUrl')}/8`,
      CACHE_REDIS_URL: `${inject('redisUrl')}/8`,
      SESSION_SECRETS: 'a'.repeat(32),
      HOST: '127.0.0.1',
      PORT: String(port),
      INTERNAL_PORT: String(internalPort),
      RATE_LIMIT_PER_MINUTE: '1000000',
      REFUSE_MS: '0',
      // How fast a busy machine answers is not what these tests are about.
      REDIS_TIMEOUT_MS: '5000',
      MAX_LOOP_DELAY_MS: '10000',
      ALLOW_SECRET_SPLIT: '1',
    },
  })
  onTestFinished(() => void child.kill('SIGKILL'))
  return { child, url: `http://127.0.0.1:${port}`, internal: `http://127.0.0.1:${internalPort}` }
}

const isReady = (internal: string) =>
  until(async () => (await statusOf(`${internal}/readyz`)) === 200, 30_000, 'the replica does not get ready')

/** More lines than the pipe and the memory that lines may take hold together. */
async function serves(url: string, internal: string): Promise<void> {
  const path = `/v1/${'x'.repeat(7000)}`
  for (let round = 0; round < 20; round++) {
    const statuses = await Promise.all(Array.from({ length: 15 }, () => statusOf(url + path)))
    expect(new Set(statuses)).toEqual(new Set([404]))
  }
  expect(await statusOf(`${internal}/livez`)).toBe(200)
}

async function linesLost(internal: string): Promise<number> {
  const metrics = await (await fetch(`${internal}/metrics`)).text()
  return Number(/^escala_log_lines_lost_total\{.*\} (\d+)$/m.exec(metrics)?.[1])
}

async function terminates(child: ChildProcess): Promise<void> {
  const exited = once(child, 'exit', { signal: AbortSignal.timeout(10_000) })
  child.kill('SIGTERM')
  expect(await exited).toEqual([0, null])
}

test('a pipe whose reader is gone', async () => {
  const pipe = namedPipe()
  const { child, url, internal } = await startReplica(pipe.write)
  closeSync(pipe.write)
  await isReady(internal)
  closeSync(pipe.read)
  await serves(url, internal)
  expect(await linesLost(internal)).toBeGreaterThan(0)
  await terminates(child)
})

test('a pipe whose reader stands still, and then reads again', async () => {
  const pipe = namedPipe()
  const { child, url, internal } = await startReplica(pipe.write)
  closeSync(pipe.write)
  await isReady(internal)
  await serves(url, internal)
  const lost = await linesLost(internal)
  expect(lost).toBeGreaterThan(0)

  let text = ''
  const buffer = Buffer.alloc(65_536)
  const readMore = () => {
    try {
      text += buffer.subarray(0, readSync(pipe.read, buffer)).toString()
    } catch {} // nothing there for now
    return text.includes('log lines were lost')
  }
  await until(readMore, 10_000, 'the loss was not reported')
  const lines = text
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line))
  expect(lines.find(({ msg }) => msg === 'log lines were lost')).toMatchObject({ level: 'warn', lines: lost })
  expect(lines.filter(({ msg }) => msg === 'request')).toHaveLength(300 - lost)
  await terminates(child)
  closeSync(pipe.read)
})

test('SIGTERM while a pipe is full that another process shares', async () => {
  const pipe = namedPipe()
  // Node puts the flags of its standard output back to what they were at its start: here to a pipe that blocks.
  const neighbour = spawn(process.execPath, ['-e', 'console.error(1), process.stdin.resume()'], {
    stdio: ['pipe', pipe.write, 'pipe'],
  })
  await once(neighbour.stderr as Readable, 'data')
  const { child, url, internal } = await startReplica(pipe.write)
  closeSync(pipe.write)
  await isReady(internal)
  neighbour.stdin?.end()
  await once(neighbour, 'exit')
  await serves(url, internal)
  await terminates(child)
  closeSync(pipe.read)
})

test('a socket whose reader is gone', async () => {
  const { child, url, internal } = await startReplica('pipe') // Node makes it a socket
  await isReady(internal)
  child.stdout?.destroy()
  await serves(url, internal)
  expect(await linesLost(internal)).toBeGreaterThan(0)
  await terminates(child)
})

test('a socket whose reader stands still', async () => {
  const { child, url, internal } = await startReplica('pipe')
  child.stdout?.pause()
  await isReady(internal)
  await serves(url, internal)
  expect(await linesLost(internal)).toBeGreaterThan(0)
  await terminates(child)
})
