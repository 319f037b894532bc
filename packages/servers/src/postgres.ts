import { existsSync, readFileSync, statSync } from 'node:fs'
import { chown, mkdir, rm, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { Binaries } from './binaries.ts'
import { describe, type LocalServer, type Settings, withPort } from './local-server.ts'
import { run, startProcess, waitForServer } from './processes.ts'

export interface PostgresServerOptions {
  binaries: Pick<Binaries, 'postgres'>
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
