import { rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import type { Binaries } from '@escala/servers/binaries'
import type { LocalServer } from '@escala/servers/local-server'
import { childrenOf } from '@escala/servers/nginx-workers'
import { startPostgres } from '@escala/servers/postgres'
import { run } from '@escala/servers/processes'
import { startFaultProxy } from './fault-proxy.ts'
import type { ServerFaults } from './server-faults.ts'
import { withClient } from './test-database.ts'

/** A primary and a hot standby of it, which can change places. The addresses are a superuser's, on the database `postgres`. */
export interface PostgresPair {
  primaryUrl(): string
  /** Answers reads; writes fail with 25006. */
  standbyUrl(): string
  /**
   * Shuts the primary down, promotes the standby and starts the former primary again at its old address as the standby.
   * Resolves when both accept connections. Nothing that was committed is lost.
   */
  switchOver(): Promise<void>
  /**
   * The same after SIGKILL of the primary: whatever had not reached the standby is lost. The former primary is cloned again.
   */
  failOver(): Promise<void>
  /** Holds what the primary sends to its standby: what is committed from now on is lost by the next fail-over. */
  holdReplication(): void
  /** Pauses the current primary, or crashes it and starts it again as the primary. */
  primary: ServerFaults
  stop(): Promise<void>
}

export interface PostgresPairOptions {
  binaries: Binaries
  folder: string
  settings: Record<string, string>
}

const password = 'test'
// The first instead of a slot. The second: a standby that lost its primary would not see the promotion for up to five seconds.
const pairSettings = { wal_keep_size: '512MB', wal_retrieve_retry_interval: '100ms' }
const timeoutMs = 10_000

interface Member {
  dataDir: string
  port: number
  server: LocalServer
}

export async function startPostgresPair({ binaries, folder, settings }: PostgresPairOptions): Promise<PostgresPair> {
  const start = (dataDir: string, port?: number) =>
    startPostgres({ binaries, dataDir, port, password, settings: { ...pairSettings, ...settings } })
  const begin = async (name: string): Promise<Member> => {
    const dataDir = join(folder, name)
    const server = await start(dataDir)
    return { dataDir, port: server.port, server }
  }

  /** Copies the primary's folder while it runs. By the backup functions, since not all binaries come with pg_basebackup. */
  const clone = async (from: Member, dataDir: string) => {
    await rm(dataDir, { recursive: true, force: true })
    await withClient(from.server.url, async (client) => {
      await client.query(`SELECT pg_backup_start('clone', true)`)
      const copied = await run('cp', ['-a', from.dataDir, dataDir])
      if (copied.code !== 0) throw new Error(`cannot copy ${from.dataDir}: ${copied.output}`)
      const { rows } = await client.query('SELECT labelfile FROM pg_backup_stop(false)')
      await write(join(dataDir, 'backup_label'), rows[0].labelfile)
    })
    for (const name of ['postmaster.pid', 'postmaster.opts']) await rm(join(dataDir, name), { force: true })
  }

  /** Makes what is in `dataDir` follow that primary when it starts. */
  const follow = async (dataDir: string) => {
    const target = `host=127.0.0.1 port=${link.port} user=postgres password=${password} application_name=standby`
    await write(join(dataDir, 'standby.signal'), '')
    await write(join(dataDir, 'postgresql.auto.conf'), `primary_conninfo = '${target}'\n`)
  }
  // As root, the server runs as another user, who must be able to read and remove these.
  const write = async (path: string, text: string) => {
    await writeFile(path, text)
    await run('chown', ['--reference', join(path, '..', 'PG_VERSION'), path])
  }

  let primary = await begin('postgres-a')
  await clone(primary, join(folder, 'postgres-b'))
  // Between the two, so that replication can be held.
  const link = await startFaultProxy({ target: primary.server.url })
  await follow(join(folder, 'postgres-b'))
  let standby = await begin('postgres-b')
  let stopped = false
  const stop = async () => {
    stopped = true
    await signalAll(primary, 'SIGCONT')
    await Promise.all([standby.server.stop(), primary.server.stop()])
    await link.stop()
  }
  try {
    await untilStreaming(primary)
  } catch (error) {
    await stop()
    throw error
  }

  const changePlaces = async (prepare: (former: Member) => Promise<void>) => {
    const former = primary
    await withClient(standby.server.url, async (client) => {
      await client.query('SET statement_timeout = 0') // the role may have one
      await client.query('SELECT pg_promote(true, 10)')
    })
    primary = standby
    standby = former
    await prepare(former)
    await follow(former.dataDir)
    link.lead(primary.server.url)
    await link.heal()
    former.server = await start(former.dataDir, former.port)
    if (stopped) return await former.server.stop()
    await untilStreaming(primary)
  }

  return {
    primaryUrl: () => primary.server.url,
    standbyUrl: () => standby.server.url,
    async switchOver() {
      await primary.server.stop()
      await changePlaces(async () => undefined)
    },
    async failOver() {
      const { server } = primary
      for (const pid of [server.pid, ...(await childrenOf(server.pid)).keys()]) kill(pid, 'SIGKILL')
      await server.exited
      await link.refuse() // what it held is lost
      await changePlaces((former) => clone(primary, former.dataDir))
    },
    holdReplication: () => link.hang(),
    primary: {
      async crash() {
        const { server, dataDir, port } = primary
        kill(server.pid, 'SIGQUIT') // "immediate", to Postgres: with SIGKILL its children would live on for a moment
        await server.exited
        if (stopped) return
        primary.server = await start(dataDir, port)
        if (stopped) await primary.server.stop()
      },
      pause: () => signalAll(primary, 'SIGSTOP'),
      resume: () => signalAll(primary, 'SIGCONT'),
    },
    stop,
  }
}

async function signalAll({ server }: Member, signal: NodeJS.Signals): Promise<void> {
  for (const pid of [server.pid, ...(await childrenOf(server.pid)).keys()]) kill(pid, signal)
}

async function untilStreaming({ server }: Member): Promise<void> {
  await withClient(server.url, async (client) => {
    for (const deadline = Date.now() + timeoutMs; Date.now() < deadline; await wait(20)) {
      const { rows } = await client.query(
        `SELECT state = 'streaming' AND replay_lsn >= pg_current_wal_flush_lsn() AS ok FROM pg_stat_replication`,
      )
      if (rows[0]?.ok) return
    }
    throw new Error('the standby does not follow')
  })
}

/** A process that has just ended is no error. */
function kill(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal)
  } catch {}
}
