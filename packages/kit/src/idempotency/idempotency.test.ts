import { afterAll, beforeAll, expect, inject, test, vi } from 'vitest'
import type { Postgres, Sql } from '../postgres/postgres.ts'
import { cleanIdempotencyKeys } from './delete-old-keys.ts'
import { createEffects, describeIdempotency } from './idempotency.contract.ts'
import type { BatchEffect } from './idempotency.ts'
import { createMemoryIdempotency } from './memory.ts'
import { createPostgresIdempotency } from './postgres.ts'

const adminUrl = () => inject('postgresUrl')
describeIdempotency('memory', adminUrl, createMemoryIdempotency)
describeIdempotency('postgres', adminUrl, (postgres) => createPostgresIdempotency({ postgres }))

let database: Awaited<ReturnType<typeof createEffects>>
let replicas: Postgres[]
beforeAll(async () => {
  database = await createEffects(adminUrl())
  replicas = [1, 2, 3].map(() => database.connect())
})
afterAll(async () => {
  await Promise.all(replicas.map((postgres) => postgres.stop()))
  await database.drop()
})

const [one, two] = [0, 1].map((at) => () => replicas[at] as Postgres) as [() => Postgres, () => Postgres]
const effects = async (name: string) => (await one().query('SELECT FROM effects WHERE name = $1', [name])).rowCount
const buy = (name: string) => async (tx: Sql) => {
  await tx.query('INSERT INTO effects (name) VALUES ($1)', [name])
  return { status: 201, body: { name } }
}

test('sixty copies over three replicas, ten times: one effect, one response', async () => {
  for (let round = 0; round < 10; round++) {
    const request = { owner: 'ana', key: `round-${round}`, fingerprint: 'f' }
    const runs = Array.from({ length: 60 }, (_, i) => {
      const idempotency = createPostgresIdempotency({ postgres: replicas[i % 3] as Postgres })
      return idempotency.run(request, buy(request.key))
    })
    const results = await Promise.allSettled(runs)
    const responses = results.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []))
    expect(responses.filter(({ replayed }) => !replayed)).toHaveLength(1)
    for (const { response } of responses) expect(response).toEqual({ status: 201, body: { name: request.key } })
    for (const result of results) {
      if (result.status === 'rejected') expect(result.reason).toMatchObject({ code: 'E_IDEMPOTENCY_IN_PROGRESS' })
    }
    expect(await effects(request.key)).toBe(1)
  }
})

test('a process that stands still in the middle loses the key, and its effect', async () => {
  const request = { owner: 'ana', key: 'paused', fingerprint: 'f' }
  const begun = Promise.withResolvers<void>()
  const awake = Promise.withResolvers<void>()
  const paused = createPostgresIdempotency({ postgres: one(), idleTimeoutMs: 300 }).run(request, async (tx) => {
    const response = await buy('paused')(tx)
    begun.resolve()
    await awake.promise
    return response
  })
  const outcome = expect(paused).rejects.toMatchObject({ code: 'E_POSTGRES_UNAVAILABLE' })
  await begun.promise
  const idempotency = createPostgresIdempotency({ postgres: two() })
  await expect(idempotency.run(request, buy('paused'))).rejects.toMatchObject({ code: 'E_IDEMPOTENCY_IN_PROGRESS' })
  await vi.waitFor(() => idempotency.run(request, buy('paused')), { timeout: 2000, interval: 50 })
  awake.resolve()
  await outcome
  expect(await effects('paused')).toBe(1)
})

test('keys are forgotten by age', async () => {
  const idempotency = createPostgresIdempotency({ postgres: one() })
  await idempotency.run({ owner: 'old', key: 'k', fingerprint: 'f' }, buy('old'))
  await idempotency.run({ owner: 'new', key: 'k', fingerprint: 'f' }, buy('new'))
  await one().query(`UPDATE idempotency_keys SET created_at = now() - interval '25 hours' WHERE owner = 'old'`)
  expect(await cleanIdempotencyKeys(one())).toBe(1)
  expect(await idempotency.run({ owner: 'new', key: 'k', fingerprint: 'f' }, buy('new'))).toMatchObject({
    replayed: true,
  })
})

const batches = () => createPostgresIdempotency({ postgres: one() })
const insertAll = (names: string[]): BatchEffect => ({
  name: 'insert-all',
  changes: `inserted AS (
    INSERT INTO effects (name)
    SELECT name FROM unnest($1::text[]) WITH ORDINALITY AS asked (name, seq) JOIN unclaimed USING (seq)
    WHERE name NOT LIKE 'unwanted%' RETURNING id, name
  )`,
  response: `SELECT seq, 201 AS status, json_build_object('name', name) AS body, id
    FROM inserted JOIN unnest($1::text[]) WITH ORDINALITY AS asked (name, seq) USING (name)`,
  values: [names],
})
const requestFor = (key: string) => ({ owner: 'ana', key, fingerprint: 'f' })
const batch = (...keys: string[]) => batches().runBatch<{ id: number }>(keys.map(requestFor), insertAll(keys))
const placed = (name: string) => ({
  status: 'fulfilled',
  value: { response: { status: 201, body: { name } }, replayed: false, row: { id: expect.any(Number) } },
})

test('a batch: each has its own outcome, in order', async () => {
  expect(await batch('b-2', 'b-1')).toMatchObject([placed('b-2'), placed('b-1')])
  const mixed = await batches().runBatch(
    [requestFor('b-3'), requestFor('b-1'), { ...requestFor('b-2'), fingerprint: 'g' }, requestFor('unwanted-1')],
    insertAll(['b-3', 'b-1', 'b-2', 'unwanted-1']),
  )
  expect(mixed).toMatchObject([
    placed('b-3'),
    { status: 'fulfilled', value: { response: { status: 201, body: { name: 'b-1' } }, replayed: true } },
    { status: 'rejected', reason: { code: 'E_IDEMPOTENCY_MISMATCH' } },
    { status: 'fulfilled', value: undefined },
  ])
  for (const name of ['b-1', 'b-2', 'b-3']) expect(await effects(name)).toBe(1)
  expect(await batches().run(requestFor('b-3'), buy('b-3'))).toMatchObject({ replayed: true })
  expect(await batches().run(requestFor('unwanted-1'), buy('later'))).toMatchObject({ replayed: false })
})

test('a batch: a copy in flight refuses only itself', async () => {
  const begun = Promise.withResolvers<void>()
  const goOn = Promise.withResolvers<void>()
  const first = batches().run(requestFor('b-flight'), async () => {
    begun.resolve()
    await goOn.promise
    return { status: 201, body: null }
  })
  await begun.promise
  expect(await batch('b-flight', 'b-4')).toMatchObject([
    { status: 'rejected', reason: { code: 'E_IDEMPOTENCY_IN_PROGRESS' } },
    placed('b-4'),
  ])
  goOn.resolve()
  await first
  expect(await effects('b-flight')).toBe(0)
})

test('a batch that fails has no effect, and its keys are free', async () => {
  const broken = {
    ...insertAll(['b-5', 'b-6']),
    name: 'insert-broken',
    response: 'SELECT 1 AS seq, 1 / 0 AS status, NULL::json AS body',
  }
  await expect(batches().runBatch([requestFor('b-5'), requestFor('b-6')], broken)).rejects.toMatchObject({
    code: '22012',
  })
  expect(await effects('b-5')).toBe(0)
  expect(await batch('b-5', 'b-6')).toMatchObject([placed('b-5'), placed('b-6')])
})

test('batches of the same keys at once: one effect for each', async () => {
  const keys = Array.from({ length: 20 }, (_, at) => `b-copies-${at}`)
  const rounds = await Promise.all([keys, keys.toReversed(), keys].map((all) => batch(...all)))
  const done = rounds.flat().filter((one) => one.status === 'fulfilled' && one.value?.replayed === false)
  expect(done).toHaveLength(keys.length)
  for (const key of keys) expect(await effects(key)).toBe(1)
})
