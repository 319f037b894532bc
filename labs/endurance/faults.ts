import type { Cluster, Replica } from '@escala/testing/cluster'
import type { Fault, FaultOptions, Undo } from './fault.ts'
import type { Random } from './random.ts'
import { crash, ofPostgres, ofRedis, pauseServer } from './server-faults.ts'
import { strangers } from './strangers.ts'

/** Faults of one group come one after the other, those of different groups at the same time. */
export interface FaultGroup {
  name: string
  /** Seconds in between. */
  pause: [number, number]
  faults: Fault[]
}

export function faultGroups({ jobLockMs, switchOver }: FaultOptions): FaultGroup[] {
  const lock = jobLockMs / 1000
  return [
    {
      name: 'api',
      pause: [2, 6],
      faults: [
        { name: 'an API replica is killed', seconds: [0.2, 4], begin: (c, roll) => kill(some(c.replicas, 1, roll)) },
        { name: 'two API replicas are killed', seconds: [0.2, 3], begin: (c, roll) => kill(some(c.replicas, 2, roll)) },
        { name: 'every API replica is killed', seconds: [0.1, 1], begin: (c) => kill([...c.replicas]) },
        { name: 'an API replica is paused', seconds: [0.5, 8], begin: (c, roll) => pause(some(c.replicas, 1, roll)) },
        {
          name: 'two API replicas are paused',
          seconds: [0.5, 4],
          begin: (c, roll) => pause(some(c.replicas, 2, roll)),
        },
        { name: 'the API is rolled', seconds: [0, 0], begin: rollAll },
        {
          name: "the reader of a replica's log stalls",
          seconds: [1, 8],
          begin: (c, roll) => stallReaders(some(c.replicas, 1, roll)),
        },
        {
          name: "the readers of the replicas' logs disappear",
          seconds: [0.5, 4],
          begin: (c, roll) => leaveUnread(some(c.replicas, 2, roll)),
        },
        { name: 'NGINX is paused', seconds: [0.2, 3], begin: pauseServer('nginx') },
        { name: 'NGINX crashes', seconds: [0, 0], begin: crash('nginx') },
        { name: 'NGINX reloads', seconds: [0, 0], begin: (c) => c.scale(c.replicas.length).then(() => undefined) },
      ],
    },
    {
      name: 'worker',
      pause: [2, 6],
      faults: [
        { name: 'a worker is killed', seconds: [0.2, 5], begin: (c, roll) => kill(some(c.workers, 1, roll)) },
        { name: 'every worker is killed', seconds: [0.2, 3], begin: (c) => kill([...c.workers]) },
        { name: 'a worker is paused', seconds: [0.5, 8], begin: (c, roll) => pause(some(c.workers, 1, roll)) },
        {
          name: 'a worker is paused past its locks',
          seconds: [lock + 1, lock + 6],
          begin: (c, roll) => pause(some(c.workers, 1, roll)),
        },
        {
          name: "the reader of a worker's log stalls",
          seconds: [1, 8],
          begin: (c, roll) => stallReaders(some(c.workers, 1, roll)),
        },
        {
          name: "the reader of a worker's log disappears",
          seconds: [0.5, 4],
          begin: (c, roll) => leaveUnread(some(c.workers, 1, roll)),
        },
        { name: 'a worker joins whose clock is an hour ahead', seconds: [2, 12], begin: (c) => addShifted(c, hour) },
        { name: 'a worker joins whose clock is an hour behind', seconds: [2, 12], begin: (c) => addShifted(c, -hour) },
        { name: 'a worker is stopped', seconds: [0, 2], begin: (c, roll) => terminate(some(c.workers, 1, roll)) },
      ],
    },
    { name: 'redis', pause: [5, 14], faults: ofRedis('the state Redis', 'redis', ({ redisProxy }) => redisProxy) },
    {
      name: 'cache',
      pause: [8, 20],
      faults: ofRedis('the cache Redis', 'cacheRedis', ({ cacheRedisProxy }) => cacheRedisProxy),
    },
    { name: 'postgres', pause: [6, 16], faults: ofPostgres({ switchOver }) },
    { name: 'strangers', pause: [1, 5], faults: strangers },
    {
      name: 'provider',
      pause: [4, 12],
      faults: [
        {
          name: 'the provider is slow',
          seconds: [2, 8],
          begin: (c, r) => provider(c, { latencyMs: r.whole(300, 3000) }),
        },
        { name: 'the provider fails', seconds: [2, 8], begin: (c, r) => provider(c, { failures: r.whole(3, 60) }) },
        {
          name: 'the provider cuts off responses',
          seconds: [2, 6],
          begin: (c, r) => provider(c, { lostAnswers: r.whole(1, 20) }),
        },
        { name: 'the provider answers nothing', seconds: [2, 9], begin: (c) => provider(c, { hang: true }) },
        { name: 'the provider declines', seconds: [1, 3], begin: (c, r) => provider(c, { declines: r.whole(1, 5) }) },
      ],
    },
    {
      name: 'mail',
      pause: [6, 16],
      faults: [
        { name: 'the mail server refuses', seconds: [2, 8], begin: (c, r) => mail(c, { failures: r.whole(3, 60) }) },
        {
          name: 'the mail server is slow',
          seconds: [2, 6],
          begin: (c, r) => mail(c, { latencyMs: r.whole(300, 3000) }),
        },
      ],
    },
  ]
}

const hour = 3_600_000

const some = <T>(list: T[], count: number, roll: Random) => roll.shuffled(list).slice(0, count)

async function kill(victims: Replica[]): Promise<Undo> {
  await Promise.all(victims.map((victim) => victim.kill()))
  return () => Promise.all(victims.map((victim) => victim.restart()))
}

async function pause(victims: Replica[]): Promise<Undo> {
  await Promise.all(victims.map((victim) => victim.pause()))
  return () => Promise.all(victims.map((victim) => victim.resume()))
}

async function terminate(victims: Replica[]): Promise<Undo> {
  const codes = await Promise.all(victims.map((victim) => victim.terminate()))
  return async () => {
    await Promise.all(victims.map((victim) => victim.restart()))
    endedWell(codes)
  }
}

async function rollAll(cluster: Cluster): Promise<Undo> {
  endedWell(await cluster.rollingRestart())
  return undefined
}

function stallReaders(victims: Replica[]): Undo {
  for (const { logReader } of victims) logReader?.stall()
  return () => {
    for (const { logReader } of victims) logReader?.goOn()
  }
}

/** Their pipes are broken until they are started again; until then, they have to serve without a log. */
function leaveUnread(victims: Replica[]): Undo {
  for (const { logReader } of victims) logReader?.leave()
  return () => Promise.all(victims.map((victim) => victim.restart()))
}

/** It is killed at the end, so that what it has planned stays behind. */
async function addShifted(cluster: Cluster, shiftMs: number): Promise<Undo> {
  const clock = new URL('./shifted-clock.ts', import.meta.url).href
  const env = { NODE_OPTIONS: `--import ${clock}`, CLOCK_SHIFT_MS: String(shiftMs) }
  const worker = await cluster.addWorker({ env, waitUntilReady: false })
  cluster.workers.splice(cluster.workers.indexOf(worker), 1) // no other fault may start it again
  return () => worker.kill()
}

/** A process that is stopped exits in time and without an error, whatever is unreachable. */
function endedWell(codes: number[]): void {
  if (codes.some((code) => code !== 0)) throw new Error(`stopped, they exited with ${codes.join(', ')}`)
}

async function provider({ payments }: Cluster, behaviour: Parameters<Cluster['payments']['behave']>[0]): Promise<Undo> {
  await payments.behave(behaviour)
  return () => payments.behave({})
}

async function mail({ mail: server }: Cluster, behaviour: Parameters<Cluster['mail']['behave']>[0]): Promise<Undo> {
  await server.behave(behaviour)
  return () => server.behave({})
}
