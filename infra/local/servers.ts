import { existsSync, readFileSync, statSync } from 'node:fs'
import { chmod, chown, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { renderNginx } from '../nginx/render.ts'
import { type Binaries, isAtLeast } from './binaries.ts'
import { reloadWorkers } from './nginx-workers.ts'
import { freePort, run, type ServerProcess, startProcess, waitForServer } from './processes.ts'

export { type Binaries, findBinaries } from './binaries.ts'

export interface LocalServer {
  url: string
  port: number
  pid: number
  version: string
  running(): boolean
  exited: Promise<void>
  /** Polite first, SIGKILL at last: bounded, and nothing is left behind. */
  stop(): Promise<void>
}

type Settings = Record<string, string | number>
type NginxSettings = NonNullable<Parameters<typeof renderNginx>[0]['settings']>

export interface PostgresServerOptions {
  binaries: Binaries
  /** Made by `initdb` when it is empty. Belongs to one major version. */
  dataDir: string
  port?: number
  /** Password of the superuser `postgres`, set when the folder is created. */
  password: string
  /** `fsync: 'off'` is for tests only: a machine that crashes leaves a broken folder. */
  settings?: Settings
}

/** Listens on 127.0.0.1 only. `url` is the superuser's. */
export async function startPostgres(options: PostgresServerOptions): Promise<LocalServer> {
  const { binaries, dataDir, password, settings = {} } = options
  const { path, version, env } = binaries.postgres
  const user = await unprivileged(dataDir)
  const environment = { ...process.env, ...env, LC_ALL: undefined, LC_MESSAGES: 'C', TZ: 'UTC' }
  await mkdir(dataDir, { recursive: true, mode: 0o700 })
  if (user.uid !== undefined) await chown(dataDir, user.uid, user.gid ?? user.uid)

  if (!existsSync(join(dataDir, 'PG_VERSION'))) {
    const passwordFile = `${dataDir}.password`
    await writeFile(passwordFile, `${password}\n`, { mode: 0o600 })
    if (user.uid !== undefined) await chown(passwordFile, user.uid, user.gid ?? user.uid)
    const locale = process.platform === 'darwin' ? 'en_US.UTF-8' : 'C.UTF-8'
    const args = ['-D', dataDir, '-U', 'postgres', '-E', 'UTF8', '-A', 'scram-sha-256', `--pwfile=${passwordFile}`]
    if (settings.fsync === 'off') args.push('--no-sync')
    const initdb = user.wrap(join(dirname(path), 'initdb'), [...args, `--locale=${locale}`])
    const made = await run(initdb.command, initdb.args, {
      cwd: dataDir,
      env: environment,
      uid: user.uid,
      gid: user.gid,
    })
    await rm(passwordFile, { force: true })
    if (made.code !== 0) {
      await rm(dataDir, { recursive: true, force: true })
      throw new Error(`initdb failed in ${dataDir}:\n${made.output.trim()}`)
    }
  }

  const logFile = `${dataDir}.log`
  return await withPort(options.port, async (port) => {
    const flags = {
      listen_addresses: '127.0.0.1',
      port,
      unix_socket_directories: '',
      logging_collector: 'off',
      ...settings,
    }
    const pairs = Object.entries(flags).flatMap(([name, value]) => ['-c', `${name}=${value}`])
    const server = startProcess({
      name: 'Postgres',
      ...user.wrap(path, ['-D', dataDir, ...pairs]),
      cwd: dataDir,
      logFile,
      env: environment,
      // INT: end connections and write everything; QUIT: at once, to be repaired from the log at the next start.
      signals: ['SIGINT', 'SIGQUIT'],
      graceMs: 5000,
      uid: user.uid,
      gid: user.gid,
    })
    // What pg_ctl does: the eighth line of this file says how far the server is.
    const pidFile = join(dataDir, 'postmaster.pid')
    await waitForServer(server, { name: 'Postgres', logFile, timeoutMs: 30_000 }, () => {
      const lines = existsSync(pidFile) ? readFileSync(pidFile, 'utf8').split('\n') : []
      return Number(lines[0]) === server.pid && lines[7]?.trim() === 'ready'
    })
    const url = `postgres://postgres:${encodeURIComponent(password)}@127.0.0.1:${port}/postgres`
    return describe(server, url, port, version)
  })
}

export interface RedisServerOptions {
  binaries: Binaries
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

export interface NginxServerOptions {
  binaries: Binaries
  /** Holds its configuration, logs, pid and temporary files. */
  dir: string
  port?: number
  /** Addresses of the replicas: `127.0.0.1:3000`. */
  replicas: string[]
  /** See `renderNginx`. */
  connectionsPerAddress?: number
  problemBaseUrl?: string
  corsOrigins?: string
  settings?: NginxSettings
  /** The whole text of another nginx.conf, whose relative paths start in `dir`; without `daemon`. */
  conf?: (listen: string, replicas: string[]) => string
}

export interface NginxServer extends LocalServer {
  /** Goes on with other replicas; requests in flight are finished by the old worker processes. */
  reload(replicas: string[]): Promise<void>
}

/** Listens on 127.0.0.1 only. Started by root, its workers run as the user that NGINX was built for (`nobody`, `www-data`). */
export async function startNginx(options: NginxServerOptions): Promise<NginxServer> {
  const { binaries, dir, connectionsPerAddress, problemBaseUrl, corsOrigins } = options
  const settings = { ...withinOpenFiles(), ...options.settings }
  const { path, version, env } = binaries.nginx
  await mkdir(dir, { recursive: true, mode: 0o700 })
  const logFile = join(dir, 'error.log')
  const configuration = join(dir, 'nginx.conf')
  const pidFile = join(dir, 'nginx.pid')
  const tempFolder = process.getuid?.() === 0 ? await createOpenFolder() : undefined
  const render = async (port: number, replicas: string[]) => {
    const listen = `127.0.0.1:${port}`
    const upstream = { kind: 'addresses' as const, addresses: replicas }
    const text =
      options.conf?.(listen, replicas) ??
      renderNginx({ listen, upstream, tempFolder, connectionsPerAddress, problemBaseUrl, corsOrigins, settings })
    await writeFile(configuration, text)
  }
  const common = [
    '-p',
    `${dir}/`,
    '-c',
    configuration,
    '-g',
    'daemon off;',
    ...(isAtLeast(version, '1.19.5') ? ['-e', logFile] : []),
  ]
  const started: Promise<NginxServer> = withPort(options.port, async (port) => {
    await rm(pidFile, { force: true })
    await render(port, options.replicas)
    const server = startProcess({
      name: 'NGINX',
      command: path,
      args: common,
      cwd: dir,
      logFile,
      env: { ...process.env, ...env },
      // QUIT lets requests in flight finish.
      signals: ['SIGQUIT', 'SIGTERM'],
      graceMs: 2000,
    })
    const hasPid = () => existsSync(pidFile) && Number(readFileSync(pidFile, 'utf8')) === server.pid
    await waitForServer(server, { name: 'NGINX', logFile }, hasPid)
    return {
      ...describe(server, `http://127.0.0.1:${port}`, port, version),
      async reload(replicas) {
        await render(port, replicas)
        const test = await run(path, [...common, '-t'], { env: { ...process.env, ...env } })
        if (test.code !== 0) throw new Error(`NGINX refuses its configuration:\n${test.output}`)
        await reloadWorkers(server.pid, () => server.signal('SIGHUP'))
      },
    }
  })
  if (tempFolder === undefined) return await started
  const forget = () => rm(tempFolder, { recursive: true, force: true })
  started.then(({ exited }) => exited.then(forget), forget)
  const server = await started
  return {
    ...server,
    async stop() {
      await server.stop()
      await forget()
    },
  }
}

/** Workers without rights can enter none of root's folders: neither a checkout in its home, nor `.escala`. */
async function createOpenFolder(): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'escala-nginx-'))
  await chmod(path, 0o711)
  return path
}

/** NGINX's own values need a hard limit of 40,960 open files. Where it is lower, NGINX could not raise its limit at all. */
function withinOpenFiles(): NginxSettings {
  if (!existsSync('/proc/self/limits')) return {}
  const [, hard] = /^Max open files +\S+ +(\d+)/m.exec(readFileSync('/proc/self/limits', 'utf8')) ?? []
  const limit = Number(hard ?? Number.POSITIVE_INFINITY)
  if (limit >= 40_960) return {}
  const connections = Math.min(16_384, Math.max(64, Math.floor((limit - 100) / 2)))
  return { worker_rlimit_nofile: String(limit), worker_connections: String(connections) }
}

interface Unprivileged {
  wrap(command: string, args: string[]): { command: string; args: string[] }
  uid?: number
  gid?: number
}

/** How to run a program that refuses to run as root: in a user namespace, or as `nobody` where those are not allowed. */
async function unprivileged(dataDir: string): Promise<Unprivileged> {
  const wrap = (command: string, args: string[]) => ({ command, args })
  if (process.getuid?.() !== 0) return { wrap }
  const owner = existsSync(dataDir) ? statSync(dataDir) : undefined
  if (owner && owner.uid !== 0) return { wrap, uid: owner.uid, gid: owner.gid } // keep the user that the folder was created with
  const namespace = ['--user', '--map-user=1000', '--map-group=1000']
  if ((await run('unshare', [...namespace, 'true'])).code === 0) {
    return { wrap: (command, args) => ({ command: 'unshare', args: [...namespace, command, ...args] }) }
  }
  return { wrap, uid: 65_534, gid: 65_534 }
}

function describe(server: ServerProcess, url: string, port: number, version: string): LocalServer {
  return { url, port, pid: server.pid, version, running: server.running, exited: server.exited, stop: server.stop }
}

/** If no port was requested, tries another one when the chosen one is taken in the meantime. */
async function withPort<T>(port: number | undefined, start: (port: number) => Promise<T>): Promise<T> {
  if (port !== undefined) return await start(port)
  for (let tries = 1; ; tries++) {
    try {
      return await start(await freePort())
    } catch (error) {
      const taken = /in use|could not bind|could not create listening socket/i.test(String(error))
      if (!taken || tries === 3) throw error
    }
  }
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
