import { afterAll, beforeAll, expect, inject, test, vi } from 'vitest'
import type { Postgres, Sql } from '../postgres/postgres.ts'
import { cleanIdempotencyKeys } from './clean.ts'
import { createEffects, describeIdempotency } from './idempotency.contract.ts'
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

test('sixty copies over three replicas, ten times: one effect, one answer', async () => {
  for (let round = 0; round < 10; round++) {
    const request = { owner: 'ana', key: `round-${round}`, fingerprint: 'f' }
    const runs = Array.from({ length: 60 }, (_, i) => {
      const idempotency = createPostgresIdempotency({ postgres: replicas[i % 3] as Postgres })
      return idempotency.run(request, buy(request.key))
    })
    const results = await Promise.allSettled(runs)
    const answers = results.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []))
    expect(answers.filter(({ replayed }) => !replayed)).toHaveLength(1)
    for (const { answer } of answers) expect(answer).toEqual({ status: 201, body: { name: request.key } })
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
    const answer = await buy('paused')(tx)
    begun.resolve()
    await awake.promise
    return answer
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
