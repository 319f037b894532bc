import { setTimeout as wait } from 'node:timers/promises'
import { type Client, createClient } from '@escala/testing/client'
import type { Cluster } from '@escala/testing/cluster'
import { check, defineLab, type LabContext } from '../lab.ts'
import { type Source, slowDown } from './source.ts'

interface Size {
  readers: number
  /** How long one load takes. */
  loadMs: number
  /** How long one takes while the old value is there. */
  slowLoadMs: number
  /** How long a value is fresh. */
  freshMs: number
}

/** Keys that are loaded together, and the part of their life after which some of them must have expired already. */
const together = 40
const lateInLife = 0.95

export const lab = defineLab<Size>({
  slug: 'stampede',
  sample: true,
  problem: 'A popular cache entry expires, and every reader at that moment queries the database.',
  sizes: {
    full: { readers: 300, loadMs: 300, slowLoadMs: 1200, freshMs: 10_000 },
    test: { readers: 300, loadMs: 300, slowLoadMs: 1200, freshMs: 2000 },
  },
  halves: {
    problem: {
      title: (replicas) =>
        `without a lock on ${replicas} replicas, a key that expires is loaded by every reader, or by every replica`,
      async run(context) {
        const { size, replicas } = context
        const alone = await openAndExpire(context, new URL('./naive.ts', import.meta.url))
        context.progress(1, 2)
        const shared = await openAndExpire(context, new URL('./single-flight.ts', import.meta.url))
        return [
          check('readers of the expired key', size.readers, { equals: size.readers }),
          check('loads with cache-aside', alone.loads, { between: [size.readers * 0.25, size.readers] }),
          check('loads with single-flight in each process', shared.loads, {
            between: [Math.min(2, replicas), replicas],
          }),
        ]
      },
    },
    fix: {
      title: (replicas) => `with a fill lock and stale values on ${replicas} replicas, one load serves all readers`,
      async run(context) {
        const { size } = context
        const { cluster, source } = await open(context)
        const cold = await readCold(cluster, source, size.readers)
        context.progress(1, 4)
        await source.take(size.slowLoadMs)
        const expired = await expireAndRead(cluster, source, size)
        context.progress(2, 4)
        await source.take(0)
        const early = await expireTogether(cluster, source, size)
        context.progress(3, 4)
        await source.take(size.loadMs)
        const killed = await readAndKill(cluster, source, size.readers)
        await source.stop()
        return [
          check('loads of a key that no process has', cold.loads, { equals: 1 }),
          check('loads of a key that expired', expired.loads, { equals: 1 }),
          check('readers that got it', cold.answered + expired.answered, { equals: 2 * size.readers }),
          check('slowest reader of the expired key (ms)', expired.slowestMs, { atMost: 2000 }),
          check(`median reader of the expired key, whose load took ${size.slowLoadMs} ms (ms)`, expired.medianMs, {
            atMost: 1000,
          }),
          check(`of ${together} keys that were loaded together, expired a little early`, early, { atLeast: 3 }),
          check('loads when the loading process is killed', killed.loads, { atMost: 2 }),
          check('readers of the others that got it', killed.answered, { equals: killed.readers }),
          check('slowest of them (ms)', killed.slowestMs, { atMost: 1000 + size.loadMs + 1500 }),
        ]
      },
    },
  },
})

async function open({ cluster: start, size }: LabContext<Size>, parts?: URL) {
  // Without a cure, readers queue for a connection to the database; here they are to get one in the end.
  const env = {
    SHOW_FRESH_MS: String(size.freshMs),
    DATABASE_TIMEOUT_MS: '8000',
    HEARTBEAT_MS: '4000',
    REDIS_TIMEOUT_MS: '2000',
  }
  const cluster = await start({ parts, env })
  return { cluster, source: await slowDown(cluster.databaseUrl, size.loadMs) }
}

async function openAndExpire(context: LabContext<Size>, parts: URL) {
  const { cluster, source } = await open(context, parts)
  try {
    return await expireAndRead(cluster, source, context.size)
  } finally {
    await source.stop()
    await cluster.stop()
  }
}

async function expireAndRead(cluster: Cluster, source: Source, { readers, freshMs }: Size) {
  const id = await source.add()
  await createClient(cluster.url).get(`/v1/shows/${id}`)
  const clients = await connect(cluster, readers)
  await wait(freshMs * 1.05)
  return read(clients, source, id, readers)
}

/** Reads keys that have been loaded together, shortly before their time is over: how many are loaded again? */
async function expireTogether(cluster: Cluster, source: Source, { freshMs }: Size): Promise<number> {
  const client = createClient(cluster.replicas[0]?.url ?? '')
  const shows: string[] = []
  while (shows.length < together) shows.push(`/v1/shows/${await source.add()}`)
  await client.get('/v1/session') // a connection
  const loadsBefore = await source.loads()
  const again: Promise<unknown>[] = []
  for (const show of shows) {
    // From before the load: what has expired by then has expired early, however busy the machine is.
    again.push(wait(freshMs * lateInLife).then(() => client.get(show)))
    await client.get(show)
  }
  await Promise.all(again)
  await wait(300) // their loads run behind them
  client.close()
  return (await source.loads()) - loadsBefore - together
}

async function readCold(cluster: Cluster, source: Source, readers: number) {
  return read(await connect(cluster, readers), source, await source.add(), readers)
}

/** Connections first: else, on a busy machine, the early readers are answered before the late ones have asked. */
async function connect(cluster: Cluster, readers: number): Promise<(Client & { replicaId: string })[]> {
  const clients = cluster.replicas.map(({ id, url }) => ({ replicaId: id, ...createClient(url) }))
  const each = Array.from({ length: Math.ceil(readers / clients.length) })
  await Promise.all(clients.flatMap((client) => each.map(() => client.get('/v1/session'))))
  return clients
}

/** So many at once, spread over the clients; what the source was asked for counts until the last load has ended. */
async function read(clients: Client[], source: Source, id: string, readers: number) {
  const loadsBefore = await source.loads()
  const times: number[] = []
  let answered = 0
  const one = async (reader: number) => {
    const startedAt = performance.now()
    const answer = await clients[reader % clients.length]?.get(`/v1/shows/${id}`)
    times.push(performance.now() - startedAt)
    if (answer?.status === 200 && answer.body.id === id) answered++
  }
  await Promise.all(Array.from({ length: readers }, (_, reader) => one(reader)))
  while (await source.loader()) await wait(10)
  for (const client of clients) client.close()
  times.sort((a, b) => a - b)
  return {
    readers,
    answered,
    loads: (await source.loads()) - loadsBefore,
    slowestMs: times.at(-1) ?? 0,
    medianMs: times[Math.floor(times.length / 2)] ?? 0,
  }
}

/** Every replica has a reader; then the one whose load runs is killed, and more come to the others. Those are counted. */
async function readAndKill(cluster: Cluster, source: Source, readers: number) {
  const clients = await connect(cluster, readers)
  const id = await source.add()
  const loadsBefore = await source.loads()
  const first = clients.map((client) => client.get(`/v1/shows/${id}`))
  let loader: string | undefined
  while (loader === undefined) loader = await source.loader()
  const killing = cluster.replicas.find((replica) => replica.id === loader)?.kill()
  const survivors = clients.filter(({ replicaId }) => replicaId !== loader)
  const seen = await read(survivors, source, id, readers)
  await Promise.all([killing, ...first])
  return { ...seen, loads: (await source.loads()) - loadsBefore }
}
