import { join } from 'node:path'
import { inspectorOffset } from '@escala/kit/lifecycle/inspector'
import { findBinaries } from '@escala/servers/binaries'
import { startNginx } from '@escala/servers/nginx'
import { freeRange, isFree } from '@escala/servers/processes'
import { statusOf, until } from '@escala/servers/waiting'
import { createDaemon } from '../pm2/daemon.ts'
import { followReplicas, replicaAddresses } from '../pm2/follow.ts'
import { createPm2 } from '../pm2/pm2.ts'
import { applicationEnvironment, type Environment, migrateAndSeed, seedPassword } from './applications.ts'
import { readOptions } from './arguments.ts'
import { claim, folder, forget, logFolders, pm2Home, readRunning, readSecrets, root, unclaim } from './instance.ts'
import { createLifetime } from './lifetime.ts'
import { outliveOutput } from './output.ts'
import { forgetDead, forgetProcesses, freePorts, untilReady } from './replicas.ts'
import { startRotation } from './rotation.ts'
import { startServices } from './services.ts'
import { welcome } from './welcome.ts'

const usage = `usage: npm start -- [--replicas N] [--port P] [--fresh] [--inspect]

  --replicas N   copies of the API behind NGINX, 1 to 32 (3)
  --port P       where NGINX listens, on 127.0.0.1 (PORT, or 8080)
  --fresh        begin with an empty database and new passwords
  --inspect      open Node's inspector in each process, on 127.0.0.1, 5000 above its internal port`

const options = readOptions('npm start', usage, {
  replicas: { min: 1, max: 32, standard: 3 },
  port: { min: 1, max: 65_535, standard: Number(process.env.PORT || 8080) },
})
outliveOutput()
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

  // Each step is undone when a later one fails, in reverse order.
  await using started = new AsyncDisposableStack()
  const services = started.adopt(await startServices(binaries, secrets), (it) => it.stop())
  if (lifetime.ended.aborted) return
  progress('database', await migrateAndSeed(services, secrets))
  if (lifetime.ended.aborted) return

  const firstPort = await freePorts(replicas)
  const env: Environment = {
    ...applicationEnvironment(services, secrets),
    ...(options.inspect && { INSPECT: '1' }),
    // One more of each kind than runs, for `npm run deploy`.
    MAX_PROCESSES: process.env.MAX_PROCESSES || String(Math.max(8, replicas + 3)),
    REPLICAS: String(replicas),
    API_PORT: String(firstPort),
    WORKER_INTERNAL_PORT: String(await freeRange(firstPort + 1100, 1)),
  }
  claim({ pid: process.pid, env, migrationUrl: services.migrationUrl })

  const pm2 = createPm2(pm2Home)
  const daemon = createDaemon({ pm2, home: pm2Home, ecosystem: join(root, 'infra/pm2/ecosystem.config.cjs') })
  await daemon.stop() // left over from a crash
  started.defer(() => daemon.stop())
  await daemon.start(env, lifetime.ended)
  if (lifetime.ended.aborted) return
  await untilReady(pm2, lifetime.ended)
  let addresses = await replicaAddresses(pm2)
  progress('replicas', `${addresses.join(', ')}  (PM2, version ${env.VERSION})`)
  if (env.INSPECT === '1') {
    const ports = (await pm2.list()).map(({ name, internalPort }) => `${name} ${internalPort + inspectorOffset}`)
    progress('inspector', `127.0.0.1: ${ports.join(', ')}`)
  }

  const dir = join(folder, 'nginx')
  const connectionsPerAddress = Number(process.env.CONNECTIONS_PER_ADDRESS || 512)
  const problemBaseUrl = process.env.PROBLEM_BASE_URL || undefined
  const corsOrigins = process.env.CORS_ORIGINS
  const nginx = started.adopt(
    await startNginx({ binaries, dir, port, replicas: addresses, connectionsPerAddress, problemBaseUrl, corsOrigins }),
    (it) => it.stop(),
  )
  const answers = async () => (await statusOf(`${nginx.url}/v1/session`)) < 500
  await until(answers, 15_000, 'the API does not answer through NGINX')
  const following = followReplicas({
    pm2,
    home: pm2Home,
    addresses,
    async changed(now) {
      await nginx.reload(now)
      addresses = now
      progress('replicas', now.join(', '))
    },
    moved: () => forgetDead(services.env.DATABASE_URL),
    failed: (error) => console.error(error),
  })
  started.defer(() => following.stop())
  started.use(startRotation({ folders: logFolders }))
  claim({ pid: process.pid, url: nginx.url, env, migrationUrl: services.migrationUrl })
  progress('ready', `in ${((Date.now() - began) / 1000).toFixed(1)} s`)
  console.log(welcome(nginx.url, seedPassword(secrets), services.mailsUrl))

  const fail = (reason: string) => {
    if (lifetime.ended.aborted) return
    exitCode = 1
    lifetime.end(reason)
  }
  for (const [name, server] of Object.entries({ ...services.servers, NGINX: nginx })) {
    server.exited.then(() => fail(`${name} has ended`))
  }
  let restarting = Promise.resolve()
  const again = async () => {
    progress('PM2', 'has ended, and its replicas with it; starting it again')
    await daemon.stop()
    await forgetProcesses(services.env.DATABASE_URL)
    // What runs now may be another version, with other settings, than at the start: `npm run deploy` has written it down.
    await daemon.start({ ...(readRunning()?.env ?? env), REPLICAS: String(addresses.length) }, lifetime.ended)
    if (lifetime.ended.aborted) return
    watchDaemon()
    await untilReady(pm2, lifetime.ended)
    await nginx.reload(await replicaAddresses(pm2)) // which also forgets that they had failed
    progress('PM2', 'serves again')
  }
  const watchDaemon = () =>
    daemon.watch(() => {
      restarting = again().catch((error) => fail(`PM2 has ended, and cannot be started again: ${error}`))
    })
  watchDaemon()
  const reason = await lifetime.untilEnd()
  await following.stop()
  console.log(`\n${reason}: finishing what is in flight, then stopping`)
  await restarting.catch(() => undefined)
  await daemon.stop() // before NGINX, which brings them what is in flight
  await started.disposeAsync()
  console.log('everything is stopped')
}

function progress(step: string, text: string) {
  console.log(`  ${step.padEnd(10)} ${text}`)
}
