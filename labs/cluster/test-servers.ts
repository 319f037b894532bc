import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestProject } from 'vitest/node'
import { chooseDriver, type DriverName } from './driver.ts'

declare module 'vitest' {
  interface ProvidedContext {
    /** Superuser on the database `postgres`: make a database of your own with `createTestDatabase`. */
    postgresUrl: string
    /** Shared by all files of a run: use a key prefix of your own. */
    redisUrl: string
    driver: DriverName
  }
}

interface Servers {
  driver: DriverName
  versions: string
  postgresUrl: string
  redisUrl: string
  stop(): Promise<void>
}

/** Durability is worth nothing here, and the connections are those of every file at once. */
const postgresSettings = { max_connections: '200', fsync: 'off', synchronous_commit: 'off', full_page_writes: 'off' }

// Each Vitest project loads this file anew; one pair of servers serves them all.
const shared = globalThis as { escalaTestServers?: { users: number; servers: Promise<Servers> } }

export async function setup(project: TestProject): Promise<void> {
  shared.escalaTestServers ??= { users: 0, servers: start(process.env.LABS) }
  shared.escalaTestServers.users++
  const servers = await shared.escalaTestServers.servers
  project.provide('postgresUrl', servers.postgresUrl)
  project.provide('redisUrl', servers.redisUrl)
  project.provide('driver', servers.driver)
}

export async function teardown(): Promise<void> {
  const running = shared.escalaTestServers
  if (!running || --running.users > 0) return
  delete shared.escalaTestServers
  await (await running.servers).stop()
}

async function start(wish: string | undefined): Promise<Servers> {
  const servers = await startWith(await chooseDriver(wish), wish === undefined)
  console.log(`servers: ${servers.driver === 'docker' ? 'containers' : 'local processes'} (${servers.versions})`)
  return servers
}

/** An engine that cannot get the images is no reason to fail, unless containers were asked for. */
async function startWith(driver: DriverName, mayFallBack: boolean): Promise<Servers> {
  if (driver === 'local') return startProcesses()
  return startContainers().catch((error: Error) => {
    if (!mayFallBack) throw error
    console.log(`servers: Docker answers, but has no containers for us: ${error.message}`)
    return startProcesses()
  })
}

async function startProcesses(): Promise<Servers> {
  const { findBinaries, startPostgres, startRedis } = await import('../../infra/local/servers.ts')
  const folder = await mkdtemp(join(tmpdir(), 'escala-test-'))
  const binaries = await findBinaries((line) => console.log(line))
  const [postgres, redis] = await Promise.all([
    startPostgres({ binaries, dataDir: join(folder, 'postgres'), password: 'test', settings: postgresSettings }),
    startRedis({ binaries, dir: join(folder, 'redis') }),
  ])
  return {
    driver: 'local',
    versions: `Postgres ${postgres.version}, Redis ${redis.version}, NGINX ${binaries.nginx.version}, Node ${process.versions.node}`,
    postgresUrl: postgres.url,
    redisUrl: redis.url,
    async stop() {
      await Promise.all([postgres.stop(), redis.stop()])
      await rm(folder, { recursive: true, force: true })
    },
  }
}

async function startContainers(): Promise<Servers> {
  const [{ PostgreSqlContainer }, { RedisContainer }] = await Promise.all([
    import('@testcontainers/postgresql'),
    import('@testcontainers/redis'),
  ])
  const options = Object.entries(postgresSettings).flatMap(([name, value]) => ['-c', `${name}=${value}`])
  const [postgres, redis] = await Promise.all([
    new PostgreSqlContainer('postgres:18')
      .withDatabase('postgres')
      .withCommand(['postgres', ...options])
      .start(),
    new RedisContainer('redis:8').start(),
  ])
  return {
    driver: 'docker',
    versions: `postgres:18, redis:8, nginx:1.30, Node ${process.versions.node}`,
    postgresUrl: postgres.getConnectionUri(),
    redisUrl: redis.getConnectionUrl(),
    async stop() {
      await Promise.all([postgres.stop(), redis.stop()])
    },
  }
}
