import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { findBinaries } from '@escala/servers/binaries'
import { type NginxServer, startNginx } from '@escala/servers/nginx'
import { startPostgres } from '@escala/servers/postgres'
import { freePort } from '@escala/servers/processes'
import { startRedis } from '@escala/servers/redis'
import { connectionsPerAddress, type Driver, type ReplicaSpec } from './driver.ts'
import { startProcessReplica } from './process-replica.ts'
import type { Replica } from './replica.ts'
import { withFaults } from './server-faults.ts'
import { startPostgresPair } from './standby.ts'

const root = fileURLToPath(new URL('../../..', import.meta.url))
const entries = {
  api: { own: 'apps/api/src/main.ts', withParts: 'packages/testing/src/api-process.ts' },
  worker: { own: 'apps/worker/src/main.ts', withParts: 'packages/testing/src/worker-process.ts' },
}

/** Servers and replicas as processes of this machine, all on 127.0.0.1; each ends when this process ends, however it does. */
export async function localDriver(): Promise<Driver> {
  const binaries = await findBinaries((line) => console.log(line))
  const { postgres, redis, nginx } = binaries
  return {
    name: 'local',
    versions: `local processes (Postgres ${postgres.version}, Redis ${redis.version}, NGINX ${nginx.version}, Node ${process.versions.node})`,
    here: { listen: '127.0.0.1', reachedAs: '127.0.0.1' },
    startPostgres: (folder, settings) => {
      const dataDir = join(folder, 'postgres')
      const start = (port?: number) => startPostgres({ binaries, dataDir, port, password: 'test', settings })
      // QUIT is Postgres's own "immediate": with KILL its children would live on for a moment, and stand in the way.
      return withFaults(start, { signal: 'SIGQUIT', data: [dataDir] })
    },
    startPostgresPair: (folder, settings) => startPostgresPair({ binaries, folder, settings }),
    startRedis: (folder, settings) => {
      const data = ['appendonlydir', 'appendonly.aof', 'dump.rdb'].map((name) => join(folder, name))
      return withFaults((port) => startRedis({ binaries, dir: folder, port, settings }), { signal: 'SIGKILL', data })
    },
    async startNginx(folder, replicas, options) {
      const addresses = (list: Replica[]) => list.map((replica) => replica.address)
      let list = replicas
      let nginx: NginxServer
      const start = async (port?: number) => {
        nginx = await startNginx({
          binaries,
          dir: folder,
          port,
          replicas: addresses(list),
          connectionsPerAddress,
          ...options,
        })
        return nginx
      }
      return {
        ...(await withFaults(start, { signal: 'SIGTERM', data: [] })),
        use: (now) => {
          list = now
          return nginx.reload(addresses(list))
        },
        logs: () => read(join(folder, 'error.log')),
        accessLog: async () => read(join(folder, 'access.log')),
      }
    },
    startNetwork: async () => undefined,
    prepare: compileOnce,
    startReplica,
  }
}

/** Compiled code of what replicas load. Nobody else writes it: most replicas of tests are killed, which leaves them no time to. */
const compileCache = join(root, 'node_modules/.cache/escala')

/** Saves each replica that starts afterwards a third of the processor time of its start. */
async function compileOnce(): Promise<void> {
  const modules = ['api', 'worker'].map((app) => pathToFileURL(join(root, 'apps', app, 'src/compose.ts')).href)
  const text = modules.map((url) => `await import(${JSON.stringify(url)})`).join('\n')
  const env = { PATH: process.env.PATH, NODE_COMPILE_CACHE: compileCache }
  const child = spawn(process.execPath, ['--input-type=module', '-e', text], { stdio: 'ignore', env })
  await once(child, 'exit').catch(() => undefined) // replicas start without it, too
}

async function startReplica(folder: string, spec: ReplicaSpec): Promise<Replica> {
  const { id, role, parts, checkout = root, pipedLogs } = spec
  const [port, internalPort] = await Promise.all([freePort(), freePort()])
  return await startProcessReplica(folder, {
    id,
    role,
    command: [process.execPath, join(checkout, parts ? entries[role].withParts : entries[role].own)],
    cwd: checkout,
    address: `127.0.0.1:${port}`,
    internalUrl: `http://127.0.0.1:${internalPort}`,
    logFile: join(folder, `${id}.log`),
    pipedLogs,
    env: {
      PATH: process.env.PATH,
      HOME: process.env.HOME,
      TMPDIR: folder, // what a replica leaves on its disk ends with the cluster
      NODE_COMPILE_CACHE: compileCache,
      MALLOC_ARENA_MAX: '1',
      HOST: '127.0.0.1',
      PORT: String(port),
      INTERNAL_PORT: String(internalPort),
      ...(parts ? { LAB_PARTS: parts.href } : {}),
      ...spec.env,
    },
  })
}

function read(file: string): string {
  return existsSync(file) ? readFileSync(file, 'utf8') : ''
}
