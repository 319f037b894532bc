import { setTimeout as wait } from 'node:timers/promises'
import { createClient } from '@escala/testing/client'
import type { Cluster } from '@escala/testing/cluster'
import type { Replica } from '@escala/testing/replica'
import pg from 'pg'
import { check, defineLab, type LabContext } from '../lab.ts'
import { type Outcome, tables } from './document.ts'
import { releaseLate } from './late-release.ts'
import { writeLate } from './late-write.ts'

interface Size {
  /** A holder is paused in the middle of its work, past the end of its lease. */
  pauses: number
  /** Contention for one lock by all replicas at once. */
  acquisitions: number
  kills: number
}

const leaseMs = 1500

export const lab = defineLab<Size>({
  slug: 'locks',
  problem: 'A paused lock holder resumes after its lease and overwrites its successor’s work.',
  replicas: { min: 3, max: 3 },
  sizes: {
    full: { pauses: 20, acquisitions: 300, kills: 5 },
    test: { pauses: 3, acquisitions: 60, kills: 1 },
  },
  halves: {
    problem: {
      title: 'with a lease and nothing else, a holder that resumes too late overwrites its successor',
      async run(context) {
        const { size } = context
        const documents = await openDocuments(context, new URL('./naive.ts', import.meta.url))
        const paused = await pauseHolders(documents, size.pauses)
        const overlaps = await contend(documents, size.acquisitions)
        return [
          check("successors' work overwritten", paused.lost, { equals: size.pauses }),
          check('holders at the same time', overlaps.overlaps, { atLeast: 1 }),
          check('entries lost under contention', overlaps.lost, { atLeast: 1 }),
        ]
      },
    },
    fix: {
      title: 'with renewal, an abort signal and a fence, nothing is overwritten',
      async run(context) {
        const { size } = context
        const documents = await openDocuments(context, new URL('./fixed.ts', import.meta.url))
        const paused = await pauseHolders(documents, size.pauses)
        const overlaps = await contend(documents, size.acquisitions)
        const slowestMs = await killHolders(documents, size.kills)
        const told = await tellLongWorker(documents)
        const thirdGotIn = await giveBackLate(documents)
        const overwritten = await sendLate(documents)
        return [
          check("successors' work overwritten", paused.lost, { equals: 0 }),
          check('holders that noticed, or were rejected by their fence', paused.stopped, { equals: size.pauses }),
          check('holders at the same time', overlaps.overlaps, { equals: 0 }),
          check('entries lost under contention', overlaps.lost, { equals: 0 }),
          check('a holder with much work left, once its lease has expired', told, { equals: 'stopped' }),
          check('a third holder gets in when a release arrives after its lease', thirdGotIn, { equals: false }),
          check('a successor overwritten by a write that was sent in time and arrives late', overwritten, {
            equals: false,
          }),
          check('longest time until a killed holder’s successor started, ms', slowestMs, { atMost: leaseMs + 100 }),
        ]
      },
    },
  },
})

interface Documents {
  cluster: Cluster
  database: pg.Pool
  progress(): void
}

async function openDocuments({ cluster: start, size, progress }: LabContext<Size>, parts: URL): Promise<Documents> {
  // A paused holder must not be taken for dead: the others would end its connections, and with them a write that is late.
  const cluster = await start({ parts, replicas: 3, faults: true, env: { HEARTBEAT_MS: '5000' } })
  const database = new pg.Pool({ connectionString: cluster.databaseUrl, max: 1, allowExitOnIdle: true })
  database.on('error', () => undefined) // the lab's database is dropped with the cluster
  await database.query(tables)
  const total = size.pauses + size.acquisitions + size.kills
  let done = 0
  return { cluster, database, progress: () => progress(++done, total) }
}

async function addEntry(replica: Replica, document: string, entry: string, workMs: number, lease = leaseMs) {
  const query = new URLSearchParams({ document, entry, workMs: String(workMs), leaseMs: String(lease) })
  const { body } = await createClient(replica.url, { timeoutMs: 60_000, keepAlive: false }).post(
    `/lab/entries?${query}`,
  )
  return body?.outcome as Outcome | undefined
}

/** A holder starts, is paused past its lease, and resumes when its successor has written. */
async function pauseHolders({ cluster, database, progress }: Documents, pauses: number) {
  let lost = 0
  let stopped = 0
  for (let n = 0; n < pauses; n++) {
    const document = `paused-${n}`
    await database.query('INSERT INTO lab_documents (id) VALUES ($1)', [document])
    const [holder, successor] = pick(cluster, n)
    const first = addEntry(holder, document, 'holder', 2500) // long enough to be paused in the middle, also on a busy machine
    await began(database, document, 'holder')
    await holder.pause()
    await addEntry(successor, document, 'successor', 0)
    await holder.resume()
    if ((await first) !== 'written') stopped++
    if (!(await entriesOf(database, document)).includes('successor')) lost++
    progress()
  }
  return { lost, stopped }
}

/** All replicas at once, for a moment each; every thirtieth works for longer than a lease. */
async function contend({ cluster, database, progress }: Documents, acquisitions: number) {
  const document = 'contended'
  await database.query('INSERT INTO lab_documents (id) VALUES ($1)', [document])
  let begun = 0
  const work = async (replica: Replica) => {
    while (begun < acquisitions) {
      const n = begun++
      await addEntry(replica, document, `entry-${n}`, n % 30 === 10 ? 1.5 * leaseMs : Math.random() * 10)
      progress()
    }
  }
  await Promise.all(cluster.replicas.flatMap((replica) => [work(replica), work(replica)]))
  const { rows } = await database.query<{ overlaps: number }>(
    `SELECT count(*)::int AS overlaps FROM lab_sections a JOIN lab_sections b
       ON a.document = b.document AND a.entry < b.entry AND a.began_at < b.ended_at AND b.began_at < a.ended_at
     WHERE a.document = $1`,
    [document],
  )
  const kept = new Set(await entriesOf(database, document)).size
  return { overlaps: rows[0]?.overlaps ?? 0, lost: acquisitions - kept }
}

/** The time from the death of a holder to the beginning of its successor, which waits already. */
async function killHolders({ cluster, database, progress }: Documents, kills: number): Promise<number> {
  let slowestMs = 0
  for (let n = 0; n < kills; n++) {
    const document = `killed-${n}`
    await database.query('INSERT INTO lab_documents (id) VALUES ($1)', [document])
    const [holder, successor] = pick(cluster, n)
    void addEntry(holder, document, 'holder', 10_000)
    await began(database, document, 'holder')
    const next = addEntry(successor, document, 'successor', 0)
    await wait(leaseMs / 2)
    const { rows: before } = await database.query<{ at: Date }>('SELECT clock_timestamp() AS at')
    await holder.kill()
    await next
    const { rows: after } = await database.query<{ at: Date }>(
      `SELECT began_at AS at FROM lab_sections WHERE document = $1 AND entry = 'successor'`,
      [document],
    )
    slowestMs = Math.max(slowestMs, Number(after[0]?.at) - Number(before[0]?.at))
    await holder.restart()
    progress()
  }
  return slowestMs
}

/** It makes no calls meanwhile, so only the signal can stop it. */
async function tellLongWorker({ cluster, database }: Documents): Promise<string> {
  const document = 'long'
  await database.query('INSERT INTO lab_documents (id) VALUES ($1)', [document])
  const [holder, successor] = pick(cluster, 0)
  const first = addEntry(holder, document, 'holder', 30_000)
  await began(database, document, 'holder')
  await holder.pause()
  await addEntry(successor, document, 'successor', 0)
  await holder.resume()
  return (await Promise.race([first, wait(3000, 'works on')])) ?? 'no answer'
}

async function giveBackLate({ cluster, database }: Documents): Promise<boolean> {
  const document = 'late'
  await database.query('INSERT INTO lab_documents (id) VALUES ($1)', [document])
  return await releaseLate(cluster, document, async () => {
    const ended = addEntry(pick(cluster, 0)[0], document, 'holder', 200, 900)
    await began(database, document, 'holder')
    return { ended }
  })
}

async function sendLate({ cluster, database }: Documents): Promise<boolean> {
  const document = 'late-write'
  await database.query('INSERT INTO lab_documents (id) VALUES ($1)', [document])
  const [holder, successor] = pick(cluster, 1)
  await writeLate({
    cluster,
    holder,
    leaseMs,
    async begin(workMs) {
      const ended = addEntry(holder, document, 'holder', workMs)
      await began(database, document, 'holder')
      return { ended }
    },
    succeed: () => addEntry(successor, document, 'successor', 0),
  })
  return !(await entriesOf(database, document)).includes('successor')
}

function pick({ replicas }: Cluster, n: number): [Replica, Replica] {
  const [holder, successor] = [replicas[n % replicas.length], replicas[(n + 1) % replicas.length]]
  if (!holder || !successor) throw new Error('this lab needs 3 replicas')
  return [holder, successor]
}

async function began(database: pg.Pool, document: string, entry: string): Promise<void> {
  const text = 'SELECT FROM lab_sections WHERE document = $1 AND entry = $2'
  for (
    const startedAt = performance.now();
    (await database.query(text, [document, entry])).rowCount === 0;
    await wait(5)
  )
    if (performance.now() - startedAt > 20_000) throw new Error(`${entry} has not begun to change ${document}`)
}

async function entriesOf(database: pg.Pool, document: string): Promise<string[]> {
  const text = 'SELECT entries FROM lab_documents WHERE id = $1'
  const { rows } = await database.query<{ entries: string[] }>(text, [document])
  return rows[0]?.entries ?? []
}
