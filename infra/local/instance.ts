import { createHash, randomBytes } from 'node:crypto'
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { isAlive } from '@escala/servers/processes'

export const root = fileURLToPath(new URL('../..', import.meta.url)).replace(/\/$/, '')
/** Data, generated passwords and logs of what runs from this checkout; ignored by git. */
export const folder = process.env.ESCALA_FOLDER || join(root, '.escala')
export const pm2Home = shortPath(join(folder, 'pm2'))

export interface Secrets {
  postgres: string
  /** Passwords of the roles that migrate and serve. */
  owner: string
  serving: string
  redis: string
  /** For SESSION_SECRETS. */
  session: string
  /** For the users that the seed makes, unless SEED_PASSWORD says otherwise. */
  seed: string
}

/** What `npm run deploy` and others need to know about a running `npm start`. */
export interface Running {
  pid: number
  /** NGINX's address; absent until it is ready. */
  url?: string
  /** Belongs to the role that migrates. */
  migrationUrl?: string
  /** The environment of the applications. */
  env: Record<string, string | undefined>
}

/** Where programs of this checkout log to. */
export const logFolders: string[] = [
  folder,
  ...['nginx', 'redis-state', 'redis-cache'].map((name) => join(folder, name)),
  pm2Home,
  join(pm2Home, 'logs'),
]

const runningFile = join(folder, 'running.json')

/** Made once, kept beside the data that they open, readable for this user only. */
export function readSecrets(): Secrets {
  const file = join(folder, 'secrets.json')
  const secret = (bytes: number) => randomBytes(bytes).toString('base64url')
  const kept = existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as Partial<Secrets>) : {}
  const secrets = {
    postgres: secret(18),
    owner: secret(18),
    serving: secret(18),
    redis: secret(18),
    session: secret(48),
    seed: secret(9),
    ...kept,
  }
  makeFolder()
  writeFileSync(file, `${JSON.stringify(secrets, undefined, 2)}\n`, { mode: 0o600 })
  return secrets
}

/** Removes data and passwords. */
export function forget(): void {
  for (const name of existsSync(folder) ? readdirSync(folder) : []) {
    if (name !== 'install.lock' && name !== 'running.json') rmSync(join(folder, name), { recursive: true, force: true })
  }
}

/** One at a time from one checkout: throws when another one runs. */
export function claim(running: Running): void {
  makeFolder()
  const other = readRunning()
  if (other && other.pid !== running.pid) {
    throw new Error(`it already runs from this folder${other.url ? ` at ${other.url}` : ''} (process ${other.pid})`)
  }
  writeFileSync(runningFile, JSON.stringify(running), { mode: 0o600 })
}

/** What `npm start` starts from now on, should it have to start something again. */
export function updateEnvironment(env: Running['env']): void {
  const running = readRunning()
  if (running) writeFileSync(runningFile, JSON.stringify({ ...running, env }), { mode: 0o600 })
}

export function unclaim(): void {
  if (readRunning()?.pid === process.pid) rmSync(runningFile, { force: true })
}

export function readRunning(): Running | undefined {
  try {
    const running = JSON.parse(readFileSync(runningFile, 'utf8')) as Running
    return isAlive(running.pid) ? running : undefined
  } catch {
    return undefined
  }
}

/** For this user alone. Where that is root, Postgres may run as another one, and has to get through to its own folder. */
function makeFolder(): void {
  mkdirSync(folder, { recursive: true })
  chmodSync(folder, process.getuid?.() === 0 ? 0o711 : 0o700)
}

/** PM2 makes sockets in its folder, whose whole paths may have about 100 characters. */
function shortPath(path: string): string {
  if (path.length < 80) return path
  return join(homedir(), '.cache', 'escala', `pm2-${createHash('sha256').update(path).digest('hex').slice(0, 8)}`)
}
