import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { chooseDriver, type Driver, type DriverName } from './driver.ts'
import { localDriver } from './local.ts'

/** What all clusters of one process share. */
export interface Environment {
  driver: Driver
  /** A superuser's, on the Postgres that they share. */
  postgresUrl: string
  stop(): Promise<void>
}

// For hundreds of connections of short-lived replicas; durability is worth nothing here.
export const postgresSettings = {
  max_connections: '200',
  fsync: 'off',
  synchronous_commit: 'off',
  full_page_writes: 'off',
}

let current: Promise<Environment> | undefined

/** In Vitest, the servers of the run; else a Postgres of its own, which `stopEnvironment` ends. */
export function environment(): Promise<Environment> {
  current ??= process.env.VITEST ? ofTestRun() : ofProcess()
  return current
}

export async function stopEnvironment(): Promise<void> {
  const running = current
  current = undefined
  // What could not be started has been reported.
  await (await running?.catch(() => undefined))?.stop()
}

async function ofTestRun(): Promise<Environment> {
  const { inject } = await import('vitest')
  return {
    driver: await createDriver(inject('driver')),
    postgresUrl: inject('postgresUrl'),
    stop: async () => undefined, // others use it too
  }
}

async function ofProcess(): Promise<Environment> {
  const name = await chooseDriver(process.env.LABS)
  try {
    return await startServers(await createDriver(name))
  } catch (cause) {
    const message = cause instanceof Error ? cause.message.trim() : String(cause)
    const hint = name === 'docker' ? '\nIt also runs without containers: LABS=local' : ''
    throw new Error(`The servers cannot be started: ${message}${hint}`, { cause })
  }
}

async function startServers(driver: Driver): Promise<Environment> {
  const folder = await mkdtemp(join(tmpdir(), 'escala-labs-'))
  const removeFolder = () => rm(folder, { recursive: true, force: true })
  const starting = driver.startPostgres(folder, postgresSettings)
  try {
    const [postgres] = await Promise.all([starting, driver.prepare()])
    return {
      driver,
      postgresUrl: postgres.url,
      async stop() {
        await postgres.stop()
        await removeFolder()
      },
    }
  } catch (error) {
    await starting.then((postgres) => postgres.stop()).catch(() => undefined)
    await removeFolder()
    throw error
  }
}

export async function createDriver(name: DriverName): Promise<Driver> {
  // Loaded when asked for: Testcontainers takes half a second.
  return name === 'docker' ? (await import('./docker.ts')).dockerDriver() : localDriver()
}
