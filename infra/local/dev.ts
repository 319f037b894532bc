import { spawn } from 'node:child_process'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { findBinaries } from '@escala/servers/binaries'
import { guard, isFree } from '@escala/servers/processes'
import { applicationEnvironment, migrateAndSeed, seedPassword } from './applications.ts'
import { readOptions } from './arguments.ts'
import { claim, forget, logFolders, readSecrets, root, unclaim } from './instance.ts'
import { createLifetime } from './lifetime.ts'
import { outliveOutput } from './output.ts'
import { prettyLine } from './pretty-log.ts'
import { startRotation } from './rotation.ts'
import { startServices } from './services.ts'

const usage = `usage: npm run dev -- [--port P] [--fresh] [--inspect]

  One replica and a worker, started again when a file changes, without NGINX and PM2.
  --port P   where the API listens, on 127.0.0.1 (PORT, or 3000); its internal port is 1000 above
  --fresh    begin with an empty database and new passwords
  --inspect  open Node's inspector in both, on 127.0.0.1, 5000 above the internal port`

const { port, fresh, inspect } = readOptions('npm run dev', usage, {
  port: { min: 1, max: 64_000, standard: Number(process.env.PORT || 3000) },
})
outliveOutput()
const lifetime = createLifetime()
let exitCode = 0
try {
  await main()
} catch (error) {
  exitCode = 1
  console.error(`npm run dev: ${error instanceof Error ? error.message : String(error)}`)
} finally {
  unclaim()
}
process.exit(exitCode)

async function main() {
  claim({ pid: process.pid, env: {} })
  if (!(await isFree(port)))
    throw new Error(`port ${port} is taken; choose another one: npm run dev -- --port ${port + 1}`)
  if (fresh) forget()
  const binaries = await findBinaries(console.log)
  const secrets = readSecrets()
  await using started = new AsyncDisposableStack()
  const services = started.adopt(await startServices(binaries, secrets), (it) => it.stop())
  started.use(startRotation({ folders: logFolders }))
  console.log(await migrateAndSeed(services, secrets))
  const env = {
    ...applicationEnvironment(services, secrets),
    ...(inspect && { INSPECT: '1' }),
    NODE_ENV: process.env.NODE_ENV || 'development',
    REFUSE_MS: '0', // there is no load balancer here, and the next start waits for it
    API_PORT: String(port),
  }
  claim({ pid: process.pid, env, migrationUrl: services.migrationUrl, url: `http://127.0.0.1:${port}` })
  if (lifetime.ended.aborted) return
  started.adopt(watch('api', { ...env, PORT: String(port) }), (it) => it.stop())
  started.adopt(watch('worker', { ...env, INTERNAL_PORT: String(port + 1100) }), (it) => it.stop())
  console.log(`http://127.0.0.1:${port}  organiser@example.com, customer@example.com: ${seedPassword(secrets)}`)
  console.log(`${await lifetime.untilEnd()}: stopping`)
}

/** Runs an application's main.ts, again after each change of a file that it loaded. */
function watch(name: string, env: Record<string, string | undefined>): { stop(): Promise<void> } {
  const child = spawn(
    process.execPath,
    ['--watch', '--watch-preserve-output', join(root, 'apps', name, 'src/main.ts')],
    {
      cwd: root,
      env,
      detached: true, // Ctrl-C comes through us, so that the services outlive the drain
      stdio: ['ignore', 'pipe', 'pipe'],
    },
  )
  for (const stream of [child.stdout, child.stderr]) {
    createInterface(stream).on('line', (line) => console.log(prettyLine(name, line)))
  }
  const exited = new Promise<void>((resolve) => child.once('exit', () => resolve()))
  if (child.pid) guard(child.pid, 'SIGTERM', 20_000)
  return {
    async stop() {
      child.kill('SIGTERM')
      await exited
    },
  }
}
