import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { createPm2 } from '../pm2/pm2.ts'
import { claim, folder, forget, pm2Home, readSecrets, root, unclaim } from './instance.ts'
import { createLifetime } from './lifetime.ts'
import { freeRange, guard, isFree, run, tail } from './processes.ts'
import { findBinaries, startNginx } from './servers.ts'
import { startServices } from './services.ts'
import { checkedOutVersion } from './version.ts'
import { statusOf, until } from './waiting.ts'

const usage = `usage: npm start -- [--replicas N] [--port P] [--fresh]

  --replicas N   copies of the API behind NGINX, 1 to 32 (3)
  --port P       where NGINX listens, on 127.0.0.1 (8080)
  --fresh        begin with an empty database and new passwords`

const options = readOptions()
const lifetime = createLifetime()
const began = Date.now()
let exitCode = 0
try {
  await main()
} catch (error) {
  exitCode = 1
  console.error(`npm start: ${error instanceof Error ? error.message : String(error)}`)
} finally {
  unclaim()
}
process.exit(exitCode)

async function main() {
  const { replicas, port } = options
  claim({ pid: process.pid, env: {} })
  if (!(await isFree(port)))
    throw new Error(`port ${port} is taken; choose another one: npm start -- --port ${port + 1}`)
  if (options.fresh) forget()
  console.log(`Escala: ${replicas} ${replicas === 1 ? 'replica' : 'replicas'} of the API behind NGINX, and a worker`)

  const binaries = await findBinaries((line) => progress('servers', line))
  const secrets = readSecrets()
  const versions = `Postgres ${binaries.postgres.version}, Redis ${binaries.redis.version}, NGINX ${binaries.nginx.version}`
  progress('servers', `${versions}, Node ${process.versions.node}`)

  await using started = new AsyncDisposableStack()
  const services = started.adopt(await startServices(binaries, secrets), (it) => it.stop())
  if (lifetime.ended.aborted) return
  progress('database', await migrateAndSeed(services.env, process.env.SEED_PASSWORD || secrets.seed))
  if (lifetime.ended.aborted) return

  const firstPort = await freePorts(replicas)
  const env = {
    ...ownSettings(),
    NODE_ENV: process.env.NODE_ENV ?? 'production',
    EXPOSE_REPLICA: process.env.EXPOSE_REPLICA ?? '1',
    SESSION_SECRETS: process.env.SESSION_SECRETS || secrets.session,
    // One more of each kind than runs, for `npm run deploy`.
    MAX_PROCESSES: process.env.MAX_PROCESSES || String(Math.max(8, replicas + 3)),
    VERSION: process.env.VERSION || checkedOutVersion(),
    HOST: '127.0.0.1',
    ...services.env,
    REPLICAS: String(replicas),
    API_PORT: String(firstPort),
    WORKER_INTERNAL_PORT: String(await freeRange(4100 + Math.max(0, firstPort - 3000), 2)),
  }
  claim({ pid: process.pid, env })

  const pm2 = createPm2(pm2Home)
  if (pm2.daemonPid() !== undefined) await pm2.command(['kill']) // left over from a crash
  const stopReplicas = async () => {
    if (pm2.daemonPid() === undefined) return
    await pm2.command(['delete', 'all']).catch(() => undefined) // nothing was started yet
    await pm2.command(['kill'])
  }
  started.defer(stopReplicas)
  const starting = pm2.command(['start', join(root, 'infra/pm2/ecosystem.config.cjs')], { env, signal: lifetime.ended })
  starting.catch(() => undefined) // looked at below
  const daemon = await until(async () => pm2.daemonPid(), 10_000, 'PM2 did not start')
  const release = guard(daemon, 'SIGTERM', 60_000)
  await starting.catch((error) => {
    if (!lifetime.ended.aborted) throw error
  })
  if (lifetime.ended.aborted) return
  const addresses = await readyReplicas()
  progress('replicas', `${addresses.join(', ')}  (PM2, version ${env.VERSION})`)

  const dir = join(folder, 'nginx')
  const nginx = started.adopt(await startNginx({ binaries, dir, port, replicas: addresses }), (it) => it.stop())
  await until(
    async () => (await statusOf(`${nginx.url}/v1/session`)) < 500,
    15_000,
    'the API does not answer through NGINX',
  )
  claim({ pid: process.pid, url: nginx.url, env })
  progress('ready', `in ${((Date.now() - began) / 1000).toFixed(1)} s`)
  console.log(welcome(nginx.url, process.env.SEED_PASSWORD || secrets.seed, services.mailsUrl))

  for (const [name, server] of Object.entries({ ...services.servers, NGINX: nginx })) {
    server.exited.then(() => {
      if (lifetime.ended.aborted) return
      exitCode = 1
      lifetime.end(`${name} has ended`)
    })
  }
  const reason = await lifetime.untilEnd()
  console.log(`\n${reason}: finishing what is in flight, then stopping`)
  await stopReplicas()
  release()
  await started.disposeAsync()
  console.log('everything is stopped')

  async function readyReplicas(): Promise<string[]> {
    const list = (await pm2.list()).sort((a, b) => a.internalPort - b.internalPort)
    for (const { name, internalPort } of list) {
      const log = `${pm2Home}/logs/${name}-error.log`
      const ready = async () => (await statusOf(`http://127.0.0.1:${internalPort}/readyz`)) === 200
      await until(
        ready,
        20_000,
        `${name} does not get ready; the end of its log:\n${tail(log)}\n${tail(log.replace('error', 'out'))}`,
      )
    }
    return list.filter(({ name }) => name === 'api').map(({ internalPort }) => `127.0.0.1:${internalPort - 1000}`)
  }
}

function readOptions(): { replicas: number; port: number; fresh: boolean } {
  try {
    const { values } = parseArgs({
      options: {
        replicas: { type: 'string', default: '3' },
        port: { type: 'string', default: process.env.PORT || '8080' },
        fresh: { type: 'boolean', default: false },
        help: { type: 'boolean', short: 'h', default: false },
      },
    })
    if (values.help) {
      console.log(usage)
      process.exit(0)
    }
    const number = (name: 'replicas' | 'port', min: number, max: number) => {
      const value = Number(values[name])
      if (Number.isInteger(value) && value >= min && value <= max) return value
      throw new Error(`--${name} takes a whole number from ${min} to ${max}`)
    }
    return { replicas: number('replicas', 1, 32), port: number('port', 1, 65_535), fresh: values.fresh }
  } catch (error) {
    console.error(`npm start: ${(error as Error).message}\n${usage}`)
    process.exit(1)
  }
}

/** The caller's environment, without what belongs to one process, to npm, or to another installation. */
function ownSettings(): Record<string, string | undefined> {
  const own = /^(npm_|PM2_|PORT$|INTERNAL_PORT$|REPLICA_ID$|SEED_PASSWORD$|NODE_OPTIONS$|ESCALA_PARENTS$|INIT_CWD$)/
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !own.test(name)))
}

async function migrateAndSeed(env: Record<string, string>, seedPassword: string): Promise<string> {
  const { code, output } = await run(process.execPath, [join(root, 'apps/api/src/migrate.ts'), '--seed'], {
    cwd: root,
    env: { ...ownSettings(), ...env, SEED_PASSWORD: seedPassword },
  })
  if (code !== 0) throw new Error(`the database could not be prepared:\n${output.trim()}`)
  return /migrate: (.*up to date|\d+ migration.*)/.exec(output)?.[1] ?? 'prepared'
}

/** The first of the replicas' ports: 3000, or later if somebody has those, or the internal ones 1000 above. */
async function freePorts(replicas: number): Promise<number> {
  for (let first = 3000; first < 20_000; first++) {
    first = await freeRange(first, replicas)
    if ((await freeRange(first + 1000, replicas)) === first + 1000) return first
  }
  throw new Error('no free ports for the replicas')
}

function progress(step: string, text: string) {
  console.log(`  ${step.padEnd(10)} ${text}`)
}

function welcome(url: string, password: string, mailsUrl: string): string {
  const tickets = existsSync(join(root, 'packages/tickets'))
  return `
Escala is ready: ${url}

  log in as  organiser@example.com or customer@example.com
  password   ${password}
  docs       ${url}/docs
  mails      ${mailsUrl}

Try, in another terminal:
  for i in 1 2 3 4; do curl -s -o /dev/null -D - ${url}/v1/${tickets ? 'shows' : 'session'} | grep -i x-replica; done
  curl -c jar -H 'content-type: application/json' -d '{"email":"customer@example.com","password":"${password}"}' ${url}/v1/session
  npm run deploy${tickets ? '          # replaces every replica while the others serve' : ''}

Ctrl-C stops everything.`
}
