import { readdirSync, readFileSync } from 'node:fs'
import { setTimeout as wait } from 'node:timers/promises'
import { type Client, type ClientAnswer, createClient } from '@escala/testing/client'
import { type Cluster, type Replica, startCluster } from '@escala/testing/cluster'
import { waitUntilReady } from '@escala/testing/replica'
import { type Check, check } from '../lab.ts'
import { account, pendingWork } from './account.ts'
import { createLedger, type Ledger } from './ledger.ts'
import { startLoad } from './load.ts'
import { type FaultEvent, startNemesis } from './nemesis.ts'
import { createRandom } from './random.ts'
import { strangers } from './strangers.ts'

export interface EnduranceOptions {
  seed: number
  forMs: number
  perSecond: number
  /** Below 1: faults come more often. */
  pace: number
  /** The Redis that keeps state loses it, once: people are logged out, and carts are gone. */
  loseRedis: boolean
  /** Postgres has a standby, and the two change places. */
  switchOver: boolean
  /** How long strangers do their worst before anything else goes wrong. */
  strangersMs: number
  /** Longest wait for an answer once a fault is over. */
  recoverMs: number
  /** Settings of the worker that differ from its defaults. */
  workerEnv?: Record<string, string>
  jobLockMs: number
  /** Longest time until everything has come to rest. */
  restMs: number
  signal: AbortSignal
  progress(state: Progress): void
}

export interface Progress {
  atMs: number
  phase: string
  requests: number
  accepted: number
  wrong: string[]
}

export interface EnduranceReport {
  checks: Check[]
  findings: string[]
  statuses: Record<string, number>
  events: FaultEvent[]
  /** Of every process, whole. */
  logs: Record<string, string>
}

const answerWithinMs = 15_000

/** Load and faults at the same time; then everything is healed, comes to rest, and is counted. */
export async function runEndurance(options: EnduranceOptions): Promise<EnduranceReport> {
  await using cluster = await startCluster({
    replicas: 3,
    workers: 2,
    faults: true,
    // A crash of the process loses nothing that was written, with or without fsync; a commit must be written, though.
    database: { settings: { fsync: 'off', full_page_writes: 'off' }, standby: options.switchOver },
    // Orders that expire while the provider is down; and the limits that keep strangers in theirs.
    env: { ORDER_HOLD_MS: '20000', RATE_LIMIT_PER_MINUTE: '600' },
    pipedLogs: true,
    workerEnv: options.workerEnv,
  })
  options.signal.throwIfAborted()
  return await endure(cluster, options)
}

export async function endure(cluster: Cluster, options: EnduranceOptions): Promise<EnduranceReport> {
  const { seed, forMs, perSecond, signal, progress } = options
  const everyone = new Set<Replica>()
  const startedAt = performance.now()
  const ledger = createLedger()
  let redisLost = false
  const load = await startLoad(cluster, { perSecond, random: createRandom(seed), ledger, mayLogOut: () => redisLost })
  const reader = await createReader(cluster)
  const spoiled = await onlyStrangers(cluster, options, ledger)
  const canary = startCanary(reader)
  const nemesis = startNemesis(cluster, {
    ...options,
    onRedisLost() {
      redisLost = true
      load.redisLost()
    },
  })
  const report = (phase: string) =>
    progress({
      atMs: performance.now() - startedAt,
      phase,
      requests: ledger.requests,
      accepted: ledger.orders.filter(({ answer }) => answer).length,
      wrong: nemesis.active(),
    })
  const ticker = setInterval(() => {
    for (const replica of [...cluster.replicas, ...cluster.workers]) everyone.add(replica)
    report(nemesis.active().length > 0 ? 'faults' : 'load')
  }, 250)
  try {
    await wait(forMs, undefined, { signal })
    await nemesis.done
    clearInterval(ticker)
    const healedAt = performance.now()
    report('healed')
    await load.stop()
    const gaps = await canary.stop()
    const unready = await neverReady(cluster)
    const left = await rest(cluster, options, report)
    const restSeconds = (performance.now() - healedAt) / 1000
    report('counting')
    const accounted = await account(cluster, ledger, load.buyers)
    const scale = await scaleVerdicts(cluster)
    const logs = Object.fromEntries([...everyone].map((replica) => [replica.id, replica.logs()]))
    const crashed = Object.entries(logs).flatMap(([id, text]) =>
      /"(uncaught exception|start failed)"/.test(text) ? [id] : [],
    )
    const failed = nemesis.events.flatMap(({ name, failure }) =>
      failure ? [`${name}: ${failure.split('\n')[0]}`] : [],
    )
    const running = processesOf(cluster)
    return {
      checks: [
        check('requests', ledger.requests, { atLeast: (perSecond * forMs) / 2000 }),
        check('faults', nemesis.events.length, { atLeast: 1 }),
        check('responses that must never be sent', JSON.stringify(ledger.wrongs), { equals: '{}' }),
        check('requests that failed while only strangers misbehaved', JSON.stringify(spoiled), { equals: '{}' }),
        check('requests refused as if they came from strangers', JSON.stringify(ledger.refusals), {
          equals: '{}',
        }),
        ...accounted.checks,
        check('left to do at the end', JSON.stringify(left), { equals: '{}' }),
        check('seconds until nothing was left to do', restSeconds, { atMost: options.restMs / 1000 }),
        check('longest wait for a response after the end of a fault, ms', recovery(gaps, nemesis.events), {
          atMost: options.recoverMs,
        }),
        check('faults that could not be healed', failed.length, { equals: 0 }),
        check('processes that are not ready', unready.length, { equals: 0 }),
        check('processes that exited by themselves', crashed.length, { equals: 0 }),
        ...(running === undefined
          ? []
          : [check('processes running', running, { equals: cluster.replicas.length + cluster.workers.length })]),
        check('verdicts of /scale other than pass', JSON.stringify(scale), { equals: '[]' }),
      ],
      findings: [...accounted.findings, ...failed, ...unready, ...crashed.map((id) => `${id} died of itself`)],
      statuses: ledger.statuses,
      events: nemesis.events,
      logs,
    }
  } finally {
    clearInterval(ticker)
    for (const { client } of load.buyers) client.close()
  }
}

/** Everything that strangers do, all at once and nothing else: no person may be affected. Returns what the people were refused. */
async function onlyStrangers(cluster: Cluster, { strangersMs, seed, signal }: EnduranceOptions, ledger: Ledger) {
  const before = { ...ledger.statuses }
  const random = createRandom(seed)
  const undos = await Promise.all(strangers.map(({ begin }) => begin(cluster, random)))
  await wait(strangersMs, undefined, { signal }).catch(() => undefined)
  await Promise.all(undos.map((undo) => undo?.()))
  const since = Object.entries(ledger.statuses).map(
    ([status, count]) => [status, count - (before[status] ?? 0)] as const,
  )
  // A busy machine may be late for a server's timeout; whatever is more than that was a stranger's doing.
  const isFailure = (status: string) =>
    /^(408|413|414|429|431|50[0245]|no answer)|E_NO_REPLICA|E_OVERLOADED/.test(status)
  return Object.fromEntries(since.filter(([status, count]) => count > 0 && isFailure(status)))
}

/** Waits until no work is left; returns what is left if that takes too long. */
async function rest(cluster: Cluster, { restMs, signal }: EnduranceOptions, report: (phase: string) => void) {
  for (const deadline = performance.now() + restMs; ; await wait(500, undefined, { signal })) {
    const work = Object.fromEntries(Object.entries(await pendingWork(cluster)).filter(([, number]) => number > 0))
    if (Object.keys(work).length === 0 || performance.now() > deadline) return work
    report(`coming to rest: ${JSON.stringify(work)}`)
  }
}

interface Canary {
  /** Resolves with when each read was sent and answered well, by the clock of the run; those that failed are left out. */
  stop(): Promise<{ sentMs: number; answeredMs: number }[]>
}

interface Reader {
  client: Client
  logIn(): Promise<ClientAnswer>
}

async function createReader(cluster: Cluster): Promise<Reader> {
  const client = createClient(cluster.url, { timeoutMs: answerWithinMs })
  const { email, password } = await client.signUp()
  await client.logIn(email, password)
  return { client, logIn: () => client.post('/v1/session', { email, password }) }
}

/** A logged-in user who keeps reading the own orders: that needs NGINX, a replica, Redis and Postgres. */
function startCanary({ client, logIn }: Reader): Canary {
  const good: { sentMs: number; answeredMs: number }[] = []
  // One at a time: log-in has a limit.
  let loggingIn: Promise<unknown> | undefined
  const logInAgain = () => {
    loggingIn ??= logIn()
      .then((answer) => wait(answer.status === 200 ? 0 : 1000))
      .finally(() => {
        loggingIn = undefined
      })
    return loggingIn
  }
  const startedAt = performance.now()
  const now = () => Math.round(performance.now() - startedAt)
  const underWay = new Set<Promise<void>>()
  const timer = setInterval(() => {
    const sentMs = now()
    const asked: Promise<void> = client
      .get('/v1/orders')
      .then(async ({ status }) => {
        if (status === 200) good.push({ sentMs, answeredMs: now() })
        if (status === 401) await logInAgain() // Redis has lost the session
      })
      .finally(() => underWay.delete(asked))
    underWay.add(asked)
  }, 250)
  return {
    async stop() {
      // The last fault has an end, too.
      for (const stopMs = now(); !good.some(({ sentMs }) => sentMs > stopMs) && now() < stopMs + answerWithinMs; )
        await wait(50)
      clearInterval(timer)
      await Promise.all(underWay)
      client.close()
      return good
    },
  }
}

/** From the end of a fault that reads can feel, with no other one going on, until a read that was sent since is answered: the longest. */
function recovery(good: { sentMs: number; answeredMs: number }[], events: FaultEvent[]): number {
  const felt = events.filter(({ group }) => ['api', 'redis', 'postgres'].includes(group))
  const waits = felt.flatMap(({ endedMs = 0 }) => {
    const next = Math.min(...felt.map(({ beganMs }) => (beganMs > endedMs ? beganMs : Number.POSITIVE_INFINITY)))
    const others = felt.some((e) => e.beganMs <= endedMs && (e.endedMs ?? Number.POSITIVE_INFINITY) > endedMs)
    const first = Math.min(...good.filter(({ sentMs }) => sentMs >= endedMs).map(({ answeredMs }) => answeredMs))
    return others || first > next ? [] : [first - endedMs] // cut short by the next one: then that one's end is what counts
  })
  return Math.max(0, ...waits)
}

async function neverReady(cluster: Cluster): Promise<string[]> {
  const outcomes = await Promise.allSettled([...cluster.replicas, ...cluster.workers].map((one) => waitUntilReady(one)))
  return outcomes.flatMap((outcome) => (outcome.status === 'rejected' ? [String(outcome.reason)] : []))
}

/** Of each process, as it sees the others. Those that have just been replaced are seen for some seconds more. */
async function scaleVerdicts(cluster: Cluster): Promise<string[]> {
  for (const deadline = Date.now() + 10_000; ; await wait(250)) {
    const verdicts = await Promise.all(
      [...cluster.replicas, ...cluster.workers].map(async ({ id, internalUrl }) => {
        const report = await fetch(`${internalUrl}/scale`).then(
          (response) => response.json() as Promise<{ checks: { name: string; verdict: string }[] }>,
          () => ({ checks: [{ name: '/scale', verdict: 'no answer' }] }),
        )
        return report.checks
          .filter(({ verdict }) => verdict !== 'pass')
          .map(({ name, verdict }) => `${id}: ${name} ${verdict}`)
      }),
    )
    if (verdicts.flat().length === 0 || Date.now() > deadline) return verdicts.flat()
  }
}

/** How many processes of this machine work on the cluster's database: one that was forgotten would, too. Linux only. */
function processesOf({ postgresProxy }: Cluster): number | undefined {
  if (process.platform !== 'linux') return undefined
  const own = `DATABASE_URL=${postgresProxy.url}\0`
  return readdirSync('/proc').filter((name) => {
    try {
      return /^\d+$/.test(name) && readFileSync(`/proc/${name}/environ`, 'utf8').includes(own)
    } catch {
      return false // not ours to read, or gone
    }
  }).length
}
