import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout as wait } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { createLog } from '@escala/kit/log/log'
import { migrate } from '@escala/kit/postgres/migrations'
import type { AddOptions, Cluster } from '@escala/testing/cluster'
import { type Replica, waitUntilReady } from '@escala/testing/replica'
import { withClient } from '@escala/testing/test-database'
import { check, defineLab, type LabContext } from '../lab.ts'
import { newMigrations } from './new-migrations.ts'

interface Size {
  /** How many times all replicas start at once on an empty database. */
  rounds: number
}

const parts = new URL('./naive.ts', import.meta.url)
const step = fileURLToPath(new URL('../../apps/api/src/migrate.ts', import.meta.url))

export const lab = defineLab<Size>({
  slug: 'migrations',
  problem: 'Replicas that migrate when they start crash on an empty database, or run one migration several times.',
  sizes: { full: { rounds: 5 }, test: { rounds: 2 } },
  localOnly: 'This lab empties the database that its replicas use, and speaks to it directly.',
  halves: {
    problem: {
      title: (replicas) =>
        `with ${replicas} replicas that migrate when they start, some crash and a change is applied twice`,
      async run(context) {
        const { size, replicas, progress } = context
        const cluster = await startEmpty(context)
        const seen = { ready: 0, crashed: 0 }
        for (let round = 1; round <= size.rounds; round++) {
          await empty(cluster)
          await boot(cluster, replicas, { parts }, seen)
          progress(round, size.rounds + 1)
        }
        await empty(cluster)
        await boot(cluster, 1, { parts })
        await addPrices(cluster)
        await boot(cluster, replicas, { parts, env: { LAB_NEXT_VERSION: '1' } })
        progress(size.rounds + 1, size.rounds + 1)
        return [
          check('starts on an empty database', size.rounds * replicas, { equals: size.rounds * replicas }),
          check('of them crashed', seen.crashed, { atLeast: size.rounds }),
          check('a price of 1.00 after one migration that doubles it', await price(cluster), { atLeast: 4 }),
        ]
      },
    },
    fix: {
      title: (replicas) =>
        `with one step before the start, ${replicas} replicas wait for it and each migration runs once`,
      async run(context) {
        const { size, replicas, progress } = context
        const cluster = await startEmpty(context)
        const seen = { ready: 0, crashed: 0 }
        const steps: StepResult[] = []
        let applied = 0
        for (let round = 1; round <= size.rounds; round++) {
          await empty(cluster)
          // Every replica starts the step too, and none waits for it.
          const running = Array.from({ length: replicas }, () => runStep(cluster.databaseUrl))
          await boot(cluster, replicas, {}, seen)
          steps.push(...(await Promise.all(running)))
          applied += Number((await query(cluster, 'SELECT count(*) AS n FROM migrations'))[0]?.n)
          progress(round, size.rounds + 1)
        }
        await addPrices(cluster)
        const log = createLog({ service: 'lab', replicaId: 'lab', version: '', level: 'silent' })
        const options = { url: cluster.databaseUrl, folders: [newMigrations], log }
        await Promise.all(Array.from({ length: replicas }, () => migrate(options)))
        progress(size.rounds + 1, size.rounds + 1)
        return [
          check('starts on an empty database', size.rounds * replicas, { equals: size.rounds * replicas }),
          check('of them crashed', seen.crashed, { equals: 0 }),
          check('became ready', seen.ready, { equals: size.rounds * replicas }),
          check('migrate steps that failed', steps.filter(({ code }) => code !== 0).length, { equals: 0 }),
          check('migrations that had to run', applied, { atLeast: size.rounds }),
          check('times that one ran', sum(steps.map((result) => result.applied)), { equals: applied }),
          check('a price of 1.00 after one migration that doubles it', await price(cluster), { equals: 2 }),
        ]
      },
    },
  },
})

/** NGINX wants a replica that it can name; it has done its part then. */
async function startEmpty({ cluster: start }: LabContext<Size>): Promise<Cluster> {
  const cluster = await start({ replicas: 1 })
  await cluster.replicas[0]?.kill()
  return cluster
}

/** Starts replicas before their database, as `docker compose up` does; waits until each is ready or has ended, and ends them. */
async function boot(cluster: Cluster, count: number, options: AddOptions, seen = { ready: 0, crashed: 0 }) {
  await allowConnections(cluster, false)
  const replicas = await Promise.all(
    Array.from({ length: count }, () => cluster.addReplica({ ...options, waitUntilReady: false })),
  )
  const waits = (replica: Replica) => replica.logs().includes('waiting for Postgres')
  while (!replicas.every((replica) => waits(replica) || !replica.running())) await wait(20)
  await allowConnections(cluster, true)
  for (const outcome of await Promise.allSettled(replicas.map((replica) => waitUntilReady(replica)))) {
    seen[outcome.status === 'fulfilled' ? 'ready' : 'crashed']++
  }
  await Promise.all(replicas.map((replica) => replica.kill()))
}

async function allowConnections(cluster: Cluster, allow: boolean): Promise<void> {
  const admin = new URL(cluster.databaseUrl)
  const name = admin.pathname.slice(1)
  admin.pathname = '/postgres'
  await withClient(admin.href, (client) => client.query(`ALTER DATABASE ${name} ALLOW_CONNECTIONS ${allow}`))
}

interface StepResult {
  code: number
  applied: number
}

async function runStep(databaseUrl: string): Promise<StepResult> {
  const env = { PATH: process.env.PATH, DATABASE_URL: databaseUrl }
  const child = spawn(process.execPath, [step], { env, stdio: ['ignore', 'pipe', 'inherit'] })
  let output = ''
  child.stdout.on('data', (chunk) => (output += chunk))
  const [code] = await once(child, 'close')
  return { code, applied: output.match(/: applied /g)?.length ?? 0 }
}

async function query(cluster: Cluster, text: string): Promise<Record<string, unknown>[]> {
  return await withClient(cluster.databaseUrl, async (client) => (await client.query(text)).rows)
}

const empty = (cluster: Cluster) => query(cluster, 'DROP SCHEMA public CASCADE; CREATE SCHEMA public')
const addPrices = (cluster: Cluster) => query(cluster, 'CREATE TABLE prices AS SELECT 100 AS cents')

async function price(cluster: Cluster): Promise<number> {
  return Number((await query(cluster, 'SELECT cents FROM prices'))[0]?.cents) / 100
}

function sum(numbers: number[]): number {
  return numbers.reduce((total, number) => total + number, 0)
}
