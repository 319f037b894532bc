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
  await (await running)?.stop()
}

async function ofTestRun(): Promise<Environment> {
  const { inject } = await import('vitest')
  const driver = await createDriver(inject('driver'))
  return { driver, postgresUrl: inject('postgresUrl'), stop: () => driver.stop() }
}

async function ofProcess(): Promise<Environment> {
  const driver = await createDriver(await chooseDriver(process.env.LABS))
  const folder = await mkdtemp(join(tmpdir(), 'escala-labs-'))
  const postgres = await driver.startPostgres(folder, postgresSettings)
  return {
    driver,
    postgresUrl: postgres.url,
    async stop() {
      await postgres.stop()
      await driver.stop()
      await rm(folder, { recursive: true, force: true })
    },
  }
}

async function createDriver(name: DriverName): Promise<Driver> {
  if (name === 'docker') throw new Error('not yet')
  return localDriver()
}
