import { setTimeout as wait } from 'node:timers/promises'
import { createClient } from '../cluster/client.ts'
import type { Cluster } from '../cluster/cluster.ts'
import { check, defineLab, type LabContext } from '../cluster/lab.ts'
import { type Source, slowDown } from './source.ts'

interface Size {
  readers: number
  /** How long one load takes. */
  loadMs: number
  /** How long a value is fresh. */
  freshMs: number
}

export const lab = defineLab<Size>({
  slug: 'stampede',
  problem: 'A popular entry of the cache expires, and every reader at that moment asks the database.',
  sizes: { full: { readers: 300, loadMs: 300, freshMs: 10_000 }, test: { readers: 300, loadMs: 300, freshMs: 1500 } },
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
          check('loads with cache-aside', alone.loads, { between: [size.readers * 0.5, size.readers] }),
          check('loads with single-flight in each process', shared.loads, {
            between: [Math.min(2, replicas), replicas],
          }),
        ]
      },
    },
    fix: {
      title: (replicas) => `with a fill lock and stale values on ${replicas} replicas, one load serves everybody`,
      async run(context) {
        const { size } = context
        const { cluster, source } = await open(context)
        const cold = await read(cluster, source, await source.add(), size.readers)
        context.progress(1, 3)
        const expired = await expireAndRead(cluster, source, size)
        context.progress(2, 3)
        const killed = await readAndKill(cluster, source, size.readers)
        await source.stop()
        return [
          check('loads of a key that nobody has', cold.loads, { equals: 1 }),
          check('loads of a key that expired', expired.loads, { equals: 1 }),
          check('readers that got it', cold.answered + expired.answered, { equals: 2 * size.readers }),
          check('slowest reader of the expired key (ms)', expired.slowestMs, { atMost: 1000 }),
          check('median reader of the expired key (ms)', expired.medianMs, { atMost: 500 }),
          check('loads when the one that fills is killed', killed.loads, { atMost: 2 }),
          check('readers of the others that got it', killed.answered, { equals: killed.readers }),
          check('slowest of them (ms)', killed.slowestMs, { atMost: 500 + killed.loadMs + 1500 }),
        ]
      },
    },
  },
})

async function open({ cluster: start, size }: LabContext<Size>, naive?: URL) {
  // Without a cure, readers queue for a connection to the database; here they are to get one in the end.
  const env = { SHOW_FRESH_MS: String(size.freshMs), DATABASE_TIMEOUT_MS: '8000' }
  const cluster = await start({ naive, env })
  return { cluster, source: await slowDown(cluster.databaseUrl, size.loadMs) }
}

async function openAndExpire(context: LabContext<Size>, naive: URL) {
  const { cluster, source } = await open(context, naive)
  try {
    return await expireAndRead(cluster, source, context.size)
  } finally {
    await source.stop()
    await cluster.stop()
  }
}

async function expireAndRead(cluster: Cluster, source: Source, { readers, freshMs }: Size) {
  const id = await source.add()
  await read(cluster, source, id, cluster.replicas.length * 5)
  await wait(freshMs * 1.05)
  return read(cluster, source, id, readers)
}

/** So many at once, spread over the replicas; what the source was asked for counts until a moment after the last answer. */
async function read(cluster: Cluster, source: Source, id: string, readers: number, replicas = cluster.replicas) {
  const loadsBefore = await source.loads()
  const clients = replicas.map(({ url }) => createClient(url))
  // Connections first: else the early ones are answered before the late ones have asked.
  await Promise.all(Array.from({ length: readers }, (_, at) => clients[at % clients.length]?.get('/v1/session')))
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

/** Readers on every replica; then the one whose load runs is killed. Counted are the readers of the others. */
async function readAndKill(cluster: Cluster, source: Source, readers: number) {
  const id = await source.add()
  const loadMs = 1000
  await source.setDelay(loadMs)
  const first = cluster.replicas.map(({ url }) => createClient(url).get(`/v1/shows/${id}`))
  let loader: string | undefined
  while (loader === undefined) loader = await source.loader()
  const survivors = cluster.replicas.filter((replica) => replica.id !== loader)
  // Its load may be counted before or after this line; with it there must be two.
  const loadsBefore = (await source.loads()) - 1
  const reading = read(cluster, source, id, readers, survivors)
  await cluster.replicas.find((replica) => replica.id === loader)?.kill()
  const seen = await reading
  await Promise.all(first)
  return { ...seen, loads: (await source.loads()) - loadsBefore, loadMs }
}
