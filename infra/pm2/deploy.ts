import { closeSync, openSync } from 'node:fs'
import { join } from 'node:path'
import { freePort, run, startProcess, tail } from '@escala/servers/processes'
import { statusOf, until } from '@escala/servers/waiting'
import { callersSettings } from '../local/applications.ts'
import { pm2Home, type Running, root, updateEnvironment } from '../local/instance.ts'
import { knownSettings } from '../local/known-settings.ts'
import { checkedOutVersion } from '../local/version.ts'
import { basicEnvironment, createPm2, type Pm2, type Pm2Process } from './pm2.ts'

export interface Pm2DeployOptions {
  /** The `npm start` that serves. */
  running: Running
  pm2?: Pm2
  /** How long a new process may take to become ready. */
  readyMs?: number
  report?: (line: string) => void
}

/**
 * Replaces what PM2 runs by what is checked out now, one process after the other: PM2 starts the new one beside the old one,
 * on the same port, and drains the old one when the new one is ready. PM2 itself would also do that when the new one never
 * gets ready, and print a tick; so a trial process of each kind has to become ready first, on a port of its own. Settings in the
 * environment of this process, or in `.env`, take the place of those that run; a setting that is not there stays as it is.
 * `false`: the reason was reported, and what was not replaced yet goes on serving. Migrations run first, so they must suit
 * the old version too.
 */
export async function deployPm2(options: Pm2DeployOptions): Promise<boolean> {
  const { running, pm2 = createPm2(pm2Home), readyMs = 20_000, report = console.log } = options
  const wanted = { ...callersSettings(knownSettings), VERSION: process.env.VERSION || checkedOutVersion() }
  const env = { ...basicEnvironment(), ...running.env, ...wanted }
  try {
    const processes = (await pm2.list()).sort((a, b) => a.name.localeCompare(b.name) || a.internalPort - b.internalPort)
    if (processes.length === 0) throw new Error('PM2 runs nothing')
    report(`version ${env.VERSION}`)
    const changed = Object.entries(wanted).flatMap(([name, value]) => (running.env[name] === value ? [] : [name]))
    report(`settings that change: ${changed.filter((name) => name !== 'VERSION').join(', ') || 'none'}`)
    const migrated = await run(process.execPath, [join(root, 'apps/api/src/migrate.ts')], {
      cwd: root,
      env: { ...env, MIGRATION_DATABASE_URL: running.migrationUrl },
    })
    if (migrated.code !== 0) throw new Error(`the migrations failed; nothing was replaced\n${migrated.output.trim()}`)
    for (const name of new Set(processes.map((one) => one.name))) {
      await tryOut(name, env, readyMs)
      report(`${name}: the new version gets ready`)
    }
    updateEnvironment({ ...running.env, ...wanted })
    for (const [index, old] of processes.entries()) {
      await replace(pm2, old, env, readyMs)
      report(`${old.name} ${old.id}: replaced (${index + 1} of ${processes.length})`)
    }
    report('deployed')
    return true
  } catch (error) {
    report(error instanceof Error ? error.message : String(error))
    return false
  }
}

/** Starts one process of the new version beside everything, waits until it is ready, and ends it. */
async function tryOut(name: string, env: Record<string, string | undefined>, readyMs: number): Promise<void> {
  const logFile = join(pm2Home, 'logs', `${name}-trial.log`)
  closeSync(openSync(logFile, 'w', 0o600))
  const [port, internalPort] = [await freePort(), await freePort()]
  const trial = startProcess({
    name,
    command: process.execPath,
    args: [join(root, 'apps', name, 'src/main.ts')],
    cwd: root,
    logFile,
    env: {
      ...env,
      PORT: String(port),
      INTERNAL_PORT: String(internalPort),
      REPLICA_ID: `trial-${name}-${process.pid}`,
      REFUSE_MS: '0',
    },
    signals: ['SIGTERM'],
    graceMs: 20_000,
  })
  try {
    const url = `http://127.0.0.1:${internalPort}/readyz`
    const why = () =>
      `${name}: the new version ${trial.running() ? 'does not get ready' : 'ends while it starts'}; nothing was replaced\n${tail(logFile)}`
    const settled = await until(async () => !trial.running() || (await statusOf(url)) === 200, readyMs, why)
    if (!settled || !trial.running()) throw new Error(why())
  } finally {
    await trial.stop()
  }
}

async function replace(
  pm2: Pm2,
  old: Pm2Process,
  env: Record<string, string | undefined>,
  readyMs: number,
): Promise<void> {
  await pm2.reload(old.id, env)
  const place = `${old.name} ${old.id}`
  const ready = async () => {
    const now = (await pm2.list(old.name)).find((one) => one.id === old.id)
    if (now?.pid === old.pid || now?.status !== 'online') return false
    return (await statusOf(`http://127.0.0.1:${old.internalPort}/readyz`)) === 200
  }
  await until(
    ready,
    readyMs,
    `${place}: the new process does not get ready; those after it were not touched. See ${pm2Home}/logs`,
  )
}
