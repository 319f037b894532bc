import { existsSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { type Binaries, findBinaries } from '@escala/servers/binaries'
import type { LocalServer } from '@escala/servers/local-server'
import { startNginx } from '@escala/servers/nginx'
import { startPostgres } from '@escala/servers/postgres'
import { freePort, startProcess, waitForServer } from '@escala/servers/processes'
import { startRedis } from '@escala/servers/redis'
import type { CleanUps } from '@escala/testing/clean-ups'
import type { Driver } from '@escala/testing/driver'
import { localDriver } from '@escala/testing/local'

export const root = join(import.meta.dirname, '../..')

/** A program that answers HTTP. */
export interface Program {
  url: string
  address: string
  pid: number
}

/** The servers that everything runs on, and how to start what is measured. */
export interface Stage {
  binaries: Binaries
  postgres: LocalServer
  driver: Driver
  /** Of this run alone. */
  folder: string
  /** Whether Postgres can count statements: its contrib module is there. */
  countsStatements: boolean
  keep: CleanUps['keep']
  /** Starts one of `labs/bench/programs`; resolves when it answers. */
  startProgram(name: string, file: string, env?: Record<string, string>): Promise<Program>
  /** Starts an NGINX with this repository's configuration before one program. */
  startNginx(name: string, address: string, settings?: Record<string, string>): Promise<LocalServer>
  startRedis(name: string): Promise<LocalServer>
}

/** Whatever is started is handed to `keep`. `postgresSettings`: for tests, where durability is worth nothing. */
export async function startStage({ keep }: Pick<CleanUps, 'keep'>, postgresSettings = {}): Promise<Stage> {
  const folder = await mkdtemp(join(tmpdir(), 'escala-bench-'))
  keep({ stop: () => rm(folder, { recursive: true, force: true }) })
  const binaries = await findBinaries(console.log)
  const driver = await localDriver()
  const countsStatements = hasStatementCounter(binaries)
  const settings = {
    max_connections: 300,
    // Counts where a database asks for it, and costs the others nothing.
    ...(countsStatements && { shared_preload_libraries: 'pg_stat_statements', 'pg_stat_statements.track': 'none' }),
    ...postgresSettings,
  }
  const dataDir = join(folder, 'postgres')
  const postgres = keep(await startPostgres({ binaries, dataDir, password: 'bench', settings }))
  return {
    binaries,
    postgres,
    driver,
    folder,
    countsStatements,
    keep,
    startProgram: async (name, file, env) => startProgram(await freePort(), { name, file, env, folder, keep }),
    startNginx: async (name, address, settings) =>
      keep(await startNginx({ binaries, dir: join(folder, `nginx-${name}`), replicas: [address], settings })),
    startRedis: async (name) => keep(await startRedis({ binaries, dir: join(folder, `redis-${name}`) })),
  }
}

interface ProgramOptions {
  name: string
  file: string
  env?: Record<string, string>
  folder: string
  keep: CleanUps['keep']
}

async function startProgram(port: number, { name, file, env, folder, keep }: ProgramOptions): Promise<Program> {
  const address = `127.0.0.1:${port}`
  const logFile = join(folder, `${name}.log`)
  const server = keep(
    startProcess({
      name,
      command: process.execPath,
      args: [join(import.meta.dirname, 'programs', file)],
      cwd: root,
      logFile,
      signals: ['SIGTERM'],
      env: { PATH: process.env.PATH, NODE_ENV: 'production', MALLOC_ARENA_MAX: '1', PORT: String(port), ...env },
    }),
  )
  const url = `http://${address}`
  await waitForServer(server, { name, logFile }, () =>
    fetch(url).then(
      () => true,
      () => false,
    ),
  )
  return { url, address, pid: server.pid }
}

/** Debian keeps Postgres's modules in `lib`, npm's packages in `lib/postgresql`. */
function hasStatementCounter({ postgres }: Binaries): boolean {
  const lib = join(dirname(postgres.path), '../lib')
  return [lib, join(lib, 'postgresql')].some((folder) => existsSync(join(folder, 'pg_stat_statements.so')))
}
