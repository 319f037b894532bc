import { type Client, createClient, expectStatus } from '@escala/testing/client'
import { type Cluster, startCluster } from '@escala/testing/cluster'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'

// Three replicas behind NGINX, a worker, and servers of their own.
let cluster: Cluster
let client: Client

beforeAll(async () => {
  cluster = await startCluster({ workers: 1 })
  client = createClient(cluster.url)
  const { email, password } = await client.signUp()
  await client.logIn(email, password)
})

afterAll(() => cluster?.stop())

test('what one replica creates, every replica lists, and the worker processes it', async () => {
  const created = expectStatus(await create(client, 'first', 'one key'), 201).body
  for (const { url } of cluster.replicas) {
    expect((await create(onReplica(url), 'first', 'one key')).body.id).toBe(created.id) // repeated: the same one
    expect((await onReplica(url).get('/v1/placeholders')).body.items).toMatchObject([{ id: created.id, name: 'first' }])
  }
  await vi.waitFor(
    async () => expect((await client.get('/v1/placeholders')).body.items).toMatchObject([{ processed: true }]),
    10_000,
  )
})

test('it goes on while a replica is killed', async () => {
  const [victim] = cluster.replicas
  await victim?.kill()
  for (let count = 0; count < 6; count++) {
    expectStatus(await create(client, `item ${count}`, `key ${count}`), 201)
  }
  await victim?.restart()
})

test('a visitor is asked to log in, and a wrong body is refused', async () => {
  expect((await createClient(cluster.url).get('/v1/placeholders')).body.code).toBe('E_NOT_LOGGED_IN')
  expect((await client.post('/v1/placeholders', { name: 'x' })).body.code).toBe('E_IDEMPOTENCY_KEY_MISSING')
  expect((await create(client, '', 'another key')).body.code).toBe('E_VALIDATION')
})

const create = (by: Client, name: string, key: string) =>
  by.post('/v1/placeholders', { name }, { 'idempotency-key': `"${key}"` })

/** The same user, at one replica. */
function onReplica(url: string): Client {
  const same = createClient(url)
  for (const [name, value] of client.cookies) same.cookies.set(name, value)
  return same
}
