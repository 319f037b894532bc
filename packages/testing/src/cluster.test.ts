import { connect } from 'node:net'
import { afterEach, expect, test, vi } from 'vitest'
import { type Client, createClient } from './client.ts'
import { type Cluster, type ClusterOptions, startCluster } from './cluster.ts'
import { environment } from './environment.ts'
import { withClient } from './test-database.ts'

let cluster: Cluster
let client: Client

async function started(options?: ClusterOptions): Promise<Cluster> {
  cluster = await startCluster(options)
  client = createClient(cluster.url)
  return cluster
}
afterEach(async ({ task }) => {
  if (task.result?.state === 'fail') console.log(cluster.logs())
  client.close()
  await cluster.stop()
})

/** Ids of the replicas that responded through NGINX; the status instead for a response other than 200. */
async function answering(requests = 12): Promise<string[]> {
  const answers = await Promise.all(Array.from({ length: requests }, () => client.get('/v1/openapi.json')))
  return [
    ...new Set(answers.map(({ status, replicaId }) => (status === 200 ? `${replicaId}` : `status ${status}`))),
  ].sort()
}

/** Sends reads one after another until stopped; returns how many failed. */
function steadyReads() {
  let going = true
  const done = (async () => {
    const seen = { reads: 0, failed: [] as unknown[] }
    while (going) {
      const { status, error } = await client.get('/v1/openapi.json')
      seen.reads++
      if (status !== 200) seen.failed.push({ status, error })
    }
    return seen
  })()
  return () => {
    going = false
    return done
  }
}

test('three replicas answer through NGINX; one is killed and two are left; restarted, it is back', async () => {
  const { replicas } = await started()
  expect(await answering()).toEqual(['api-1', 'api-2', 'api-3'])

  await replicas[1]?.kill()
  expect(await answering()).toEqual(['api-1', 'api-3'])
  expect([replicas[1]?.running(), await replicas[1]?.exited()]).toEqual([false, 137])

  await replicas[1]?.restart()
  await vi.waitFor(async () => expect(await answering()).toEqual(['api-1', 'api-2', 'api-3']), { timeout: 10_000 })
})

test('each replica has an address of its own, beside NGINX', async () => {
  const { replicas } = await started({ replicas: 2 })
  for (const { id, url, internalUrl } of replicas) {
    const direct = createClient(url)
    expect((await direct.get('/v1/openapi.json')).replicaId).toBe(id)
    direct.close()
    expect((await fetch(`${internalUrl}/livez`)).status).toBe(200)
  }
})

test('a paused replica answers nothing, and goes on when it is resumed', async () => {
  const { replicas } = await started({ replicas: 1 })
  const [replica] = replicas
  const direct = createClient(replica?.url ?? '', { timeoutMs: 300 })
  await replica?.pause()
  expect((await direct.get('/v1/openapi.json')).status).toBe(0)
  expect(replica?.running()).toBe(true)
  await replica?.resume()
  await vi.waitFor(async () => expect((await direct.get('/v1/openapi.json')).status).toBe(200))
  direct.close()
})

test('a rolling restart replaces every replica, and a client notices nothing', async () => {
  await started()
  const stopReading = steadyReads()
  const codes = await cluster.rollingRestart({ env: { VERSION: 'next' } })
  const { reads, failed } = await stopReading()
  expect(codes).toEqual([0, 0, 0])
  expect({ failed, enough: reads > 50 }).toEqual({ failed: [], enough: true })
  expect(await answering()).toEqual(['api-4', 'api-5', 'api-6'])
})

test('a version that never becomes ready replaces nothing', async () => {
  await started({ replicas: 2 })
  await expect(cluster.rollingRestart({ env: { SESSION_SECRETS: 'short' } })).rejects.toThrow('SESSION_SECRETS')
  expect(await answering()).toEqual(['api-1', 'api-2'])
})

test('scaling up and down, under steady reads', async () => {
  await started({ replicas: 1 })
  const stopReading = steadyReads()
  await cluster.scale(3)
  await vi.waitFor(async () => expect(await answering()).toEqual(['api-1', 'api-2', 'api-3']))
  await cluster.scale(2)
  expect(await answering()).toEqual(['api-1', 'api-2'])
  expect(await stopReading()).toMatchObject({ failed: [] })
})

test('what replicas share can be cut off and healed', async () => {
  await started({ replicas: 1, faults: true })
  const { email, password } = await client.signUp()
  await client.logIn(email, password)
  const read = async () => (await client.get('/v1/session')).status // reads a row
  expect(await read()).toBe(200)
  await cluster.postgresProxy.refuse()
  await vi.waitFor(async () => expect(await read()).toBe(503))
  await cluster.postgresProxy.heal()
  await vi.waitFor(async () => expect(await read()).toBe(200), { timeout: 5000 })
})

test('clusters do not see each other, and nothing is left of one that has stopped', async () => {
  await started({ replicas: 1 })
  const other = await startCluster({ replicas: 1 })
  const { email, password } = await client.signUp()
  const stranger = createClient(other.url)
  expect((await stranger.post('/v1/session', { email, password })).status).toBe(401)
  stranger.close()

  const pids = other.replicas.map(({ pid }) => pid)
  await other.stop()
  for (const pid of pids) expect(() => process.kill(pid, 0)).toThrow('ESRCH')
  for (const { port } of [new URL(other.url), new URL(other.redisUrl)]) expect(await isListening(port)).toBe(false)
  const { postgresUrl } = await environment()
  const name = new URL(other.databaseUrl).pathname.slice(1)
  const { rowCount } = await withClient(postgresUrl, (admin) =>
    admin.query('SELECT FROM pg_database WHERE datname = $1', [name]),
  )
  expect(rowCount).toBe(0)
})

function isListening(port: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(Number(port), '127.0.0.1')
    socket.once('connect', () => resolve(true)).once('error', () => resolve(false))
    socket.once('connect', () => socket.destroy())
  })
}
