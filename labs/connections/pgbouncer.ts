import { existsSync, readdirSync } from 'node:fs'
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { homedir, tmpdir } from 'node:os'
import { join } from 'node:path'
import { unpackDebianPackage } from '@escala/servers/apt'
import { freePort, run, startProcess, waitForServer } from '@escala/servers/processes'
import { withClient } from '@escala/testing/test-database'

export interface PgBouncer {
  /** `databaseUrl`, through it. */
  url: string
  version: string
  stop(): Promise<void>
}

/** In transaction mode, with `poolSize` connections to the server. `undefined` where there is none to be had. */
export async function startPgBouncer(databaseUrl: string, poolSize: number): Promise<PgBouncer | undefined> {
  const binary = await find()
  if (!binary) return undefined
  const { version } = binary
  const folder = await mkdtemp(join(tmpdir(), 'escala-pgbouncer-'))
  await chmod(folder, 0o755)
  const port = await freePort()
  const target = new URL(databaseUrl)
  const name = target.pathname.slice(1)
  const login = `user=${target.username} password=${target.password}`
  const unprivileged = 'nobody' // PgBouncer refuses to run as root
  const root = process.getuid?.() === 0 ? `user = ${unprivileged}` : ''
  const file = join(folder, 'pgbouncer.ini')
  // auth_type any: it listens on this machine only, for the time of the lab.
  await writeFile(
    file,
    `[databases]
${name} = host=${target.hostname} port=${target.port} dbname=${name} ${login}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = ${port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = ${poolSize}
max_client_conn = 500
${root}
`,
  )
  const logFile = join(folder, 'log')
  const server = startProcess({
    name: 'PgBouncer',
    command: binary.path,
    args: [file],
    cwd: folder,
    logFile,
    env: { ...process.env, ...binary.env },
    signals: ['SIGINT', 'SIGTERM'],
  })
  const through = new URL(databaseUrl)
  through.host = `127.0.0.1:${port}`
  const answers = () => withClient(through.href, async () => true).catch(() => false) // not listening yet
  await waitForServer(server, { name: 'PgBouncer', logFile }, answers)
  return {
    url: through.href,
    version,
    async stop() {
      await server.stop()
      await rm(folder, { recursive: true, force: true })
    },
  }
}

async function find(): Promise<{ path: string; version: string; env: Record<string, string> } | undefined> {
  const cached = join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'escala', 'pgbouncer')
  return (await check('pgbouncer')) ?? (await inFolder(cached)) ?? (await download(cached))
}

async function download(folder: string) {
  if (!existsSync('/usr/bin/apt-get')) return undefined
  return await unpackDebianPackage('pgbouncer', folder).then(
    () => inFolder(folder),
    () => undefined,
  )
}

async function inFolder(folder: string) {
  const libraries = join(folder, 'usr', 'lib')
  if (!existsSync(libraries)) return undefined
  const path = readdirSync(libraries)
    .map((name) => join(libraries, name))
    .join(':')
  return await check(join(folder, 'usr', 'sbin', 'pgbouncer'), { LD_LIBRARY_PATH: path })
}

async function check(path: string, env: Record<string, string> = {}) {
  const { code, output } = await run(path, ['--version'], { env: { ...process.env, ...env } })
  const version = /PgBouncer (\d+\.\d+)/i.exec(output)?.[1]
  return code === 0 && version ? { path, version, env } : undefined
}
