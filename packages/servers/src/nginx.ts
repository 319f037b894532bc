import { existsSync, readFileSync } from 'node:fs'
import { chmod, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Binaries, isAtLeast } from './binaries.ts'
import { describe, type LocalServer, withPort } from './local-server.ts'
import { type NginxOptions, renderNginx } from './nginx-config.ts'
import { reloadWorkers } from './nginx-workers.ts'
import { run, startProcess, waitForServer } from './processes.ts'

export interface NginxServerOptions {
  binaries: Pick<Binaries, 'nginx'>
  /** Holds its configuration, logs, pid and temporary files. */
  dir: string
  port?: number
  /** Addresses of the replicas: `127.0.0.1:3000`. */
  replicas: string[]
  /** See `renderNginx`. */
  connectionsPerAddress?: number
  problemBaseUrl?: string
  corsOrigins?: string
  confFolder?: string
  settings?: NginxOptions['settings']
  /** The whole text of another nginx.conf, whose relative paths start in `dir`; without `daemon`. */
  conf?: (listen: string, replicas: string[]) => string
}

export interface NginxServer extends LocalServer {
  /** Goes on with other replicas; requests in flight are finished by the old worker processes. */
  reload(replicas: string[]): Promise<void>
}

/** Listens on 127.0.0.1 only. Started by root, its workers run as the user that NGINX was built for (`nobody`, `www-data`). */
export async function startNginx(options: NginxServerOptions): Promise<NginxServer> {
  const { binaries, dir, connectionsPerAddress, problemBaseUrl, corsOrigins, confFolder } = options
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
    const own = options.conf?.(listen, replicas)
    const text =
      (own && withTempPaths(own, tempFolder ?? dir)) ??
      renderNginx({
        listen,
        upstream,
        tempFolder,
        connectionsPerAddress,
        problemBaseUrl,
        corsOrigins,
        confFolder,
        settings,
      })
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

/** NGINX makes its folders for bodies where it was installed, which takes rights, unless its configuration names others. */
function withTempPaths(conf: string, folder: string): string {
  if (conf.includes('_temp_path')) return conf
  const paths = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map(
    (name) => `${name}_temp_path ${folder}/${name};`,
  )
  return conf.replace(/\bhttp\s*\{/, (http) => `${http} ${paths.join(' ')}`)
}

/** Workers without rights can enter none of root's folders: neither a checkout in its home, nor `.escala`. */
async function createOpenFolder(): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'escala-nginx-'))
  await chmod(path, 0o711)
  return path
}

/** NGINX's own values need a hard limit of 40,960 open files. Where it is lower, NGINX could not raise its limit at all. */
function withinOpenFiles(): NonNullable<NginxOptions['settings']> {
  if (!existsSync('/proc/self/limits')) return {}
  const [, hard] = /^Max open files +\S+ +(\d+)/m.exec(readFileSync('/proc/self/limits', 'utf8')) ?? []
  const limit = Number(hard ?? Number.POSITIVE_INFINITY)
  if (limit >= 40_960) return {}
  const connections = Math.min(16_384, Math.max(64, Math.floor((limit - 100) / 2)))
  return { worker_rlimit_nofile: String(limit), worker_connections: String(connections) }
}
