import { mkdir, writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { join } from 'node:path'
import type { Binaries } from './binaries.ts'
import { describe, type LocalServer, type Settings, withPort } from './local-server.ts'
import { startProcess, waitForServer } from './processes.ts'

export interface RedisServerOptions {
  binaries: Pick<Binaries, 'redis'>
  /** Holds its configuration, its log and, if it keeps any, its data. */
  dir: string
  port?: number
  password?: string
  /** Lines of redis.conf; by default it keeps nothing on disk. */
  settings?: Settings
}

/** Listens on 127.0.0.1 only. */
export async function startRedis(options: RedisServerOptions): Promise<LocalServer> {
  const { binaries, dir, password, settings = {} } = options
  const { path, version, env } = binaries.redis
  await mkdir(dir, { recursive: true, mode: 0o700 })
  const logFile = join(dir, 'redis.log')
  return await withPort(options.port, async (port) => {
    const lines: Settings = { bind: '127.0.0.1', port, daemonize: 'no', dir: `"${dir}"`, save: '""', ...settings }
    if (password !== undefined) lines.requirepass = password
    const text = Object.entries(lines).map(([name, value]) => `${name} ${value}\n`)
    await writeFile(join(dir, 'redis.conf'), text, { mode: 0o600 })
    const server = startProcess({
      name: 'Redis',
      command: path,
      args: [join(dir, 'redis.conf')],
      cwd: dir,
      logFile,
      env: { ...process.env, ...env },
      signals: ['SIGTERM'],
      graceMs: 5000,
    })
    const credentials = password === undefined ? '' : `AUTH ${password}\r\n`
    await waitForServer(server, { name: 'Redis', logFile }, async () =>
      /\+PONG/.test(await ask(port, `${credentials}PING\r\n`)),
    )
    const url = `redis://${password === undefined ? '' : `:${encodeURIComponent(password)}@`}127.0.0.1:${port}`
    return describe(server, url, port, version)
  })
}

function ask(port: number, request: string): Promise<string> {
  return new Promise((resolve) => {
    let answer = ''
    const socket = connect(port, '127.0.0.1', () => socket.write(request))
    socket.setTimeout(1000, () => socket.destroy())
    socket.on('data', (chunk) => {
      answer += chunk
      if (/PONG|-NOAUTH|-LOADING|-WRONGPASS/.test(answer)) socket.destroy()
    })
    socket.on('error', () => undefined)
    socket.on('close', () => resolve(answer))
  })
}
