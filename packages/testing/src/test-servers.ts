import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestProject } from 'vitest/node'
import { chooseDriver, type Driver, type DriverName } from './driver.ts'
import { createDriver, postgresSettings } from './environment.ts'

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
  driver: Driver
  postgresUrl: string
  redisUrl: string
  stop(): Promise<void>
}

interface Shared {
  users: number
  servers: Promise<Servers>
  prepared?: Promise<void>
}

// Each Vitest project loads this file again; one pair of servers serves them all.
const shared = globalThis as { escalaTestServers?: Shared }

export async function setup(project: TestProject): Promise<void> {
  shared.escalaTestServers ??= { users: 0, servers: start(process.env.LABS) }
  const run = shared.escalaTestServers
  run.users++
  const { driver, postgresUrl, redisUrl } = await run.servers
  if (project.name === 'labs') {
    run.prepared ??= driver.prepare()
    await run.prepared
  }
  project.provide('postgresUrl', postgresUrl)
  project.provide('redisUrl', redisUrl)
  project.provide('driver', driver.name)
}

export async function teardown(): Promise<void> {
  const run = shared.escalaTestServers
  if (!run || --run.users > 0) return
  delete shared.escalaTestServers
  await (await run.servers).stop()
}

async function start(wish: string | undefined): Promise<Servers> {
  const servers = await startWith(await chooseDriver(wish), wish === undefined)
  console.log(`servers: ${servers.driver.versions}`)
  return servers
}

/** An engine that cannot get the images is no reason to fail, unless containers were asked for. */
async function startWith(name: DriverName, mayFallBack: boolean): Promise<Servers> {
  if (name === 'local') return startServers(name)
  return startServers(name).catch((error: Error) => {
    if (!mayFallBack) throw error
    console.log(`servers: Docker answers, but has no containers for us: ${error.message}`)
    return startServers('local')
  })
}

async function startServers(name: DriverName): Promise<Servers> {
  const driver = await createDriver(name)
  const folder = await mkdtemp(join(tmpdir(), 'escala-test-'))
  const [postgres, redis] = await Promise.all([
    driver.startPostgres(folder, postgresSettings),
    driver.startRedis(join(folder, 'redis'), {}),
  ])
  return {
    driver,
    postgresUrl: postgres.url,
    redisUrl: redis.url,
    async stop() {
      await Promise.all([postgres.stop(), redis.stop()])
      await rm(folder, { recursive: true, force: true })
    },
  }
}
