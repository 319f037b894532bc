import { createTestDatabase, type TestDatabase } from '@escala/testing/test-database'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createLog } from '../log/log.ts'
import { kitMigrations, migrate } from '../postgres/migrations.ts'
import { createPostgres, type Postgres, type Sql } from '../postgres/postgres.ts'
import type { EffectStatement, Idempotency } from './idempotency.ts'

export const log = createLog({ service: 'test', replicaId: 'test', version: '0', level: 'silent' })

/** A migrated database with a table of effects. */
export async function createEffects(adminUrl: string): Promise<TestDatabase & { connect(): Postgres }> {
  const database = await createTestDatabase(adminUrl)
  await migrate({ url: database.url, folders: [kitMigrations], log })
  const connect = () =>
    createPostgres({ url: database.url, log, applicationName: 'test', maxConnections: 5, timeoutMs: 5000 })
  const postgres = connect()
  await postgres.query('CREATE TABLE effects (id int GENERATED ALWAYS AS IDENTITY, name text)')
  await postgres.stop()
  return { ...database, connect }
}

/** What every adapter keeps. `create` is given a pool on a database that has `effects`. */
export function describeIdempotency(
  name: string,
  adminUrl: () => string,
  create: (postgres: Postgres) => Idempotency,
): void {
  describe(`idempotency: ${name}`, () => {
    let database: Awaited<ReturnType<typeof createEffects>>
    let postgres: Postgres
    let idempotency: Idempotency
    beforeAll(async () => {
      database = await createEffects(adminUrl())
      postgres = database.connect()
      idempotency = create(postgres)
    })
    afterAll(async () => {
      await postgres.stop()
      await database.drop()
    })

    const insert = (tx: Sql, name: string) => tx.query('INSERT INTO effects (name) VALUES ($1)', [name])
    const effects = async (name: string) =>
      (await postgres.query('SELECT FROM effects WHERE name = $1', [name])).rowCount
    const buy = (name: string) => async (tx: Sql) => {
      await insert(tx, name)
      return { status: 201, body: { z: 1, a: [name] } }
    }

    test('the second time, the response comes without its effect', async () => {
      const request = { owner: 'ana', key: 'twice', fingerprint: 'f' }
      expect(await idempotency.run(request, buy('twice'))).toEqual({
        response: { status: 201, body: { z: 1, a: ['twice'] } },
        replayed: false,
      })
      const again = await idempotency.run(request, buy('twice'))
      expect(again).toEqual({ response: { status: 201, body: { z: 1, a: ['twice'] } }, replayed: true })
      expect(JSON.stringify(again.response.body)).toBe('{"z":1,"a":["twice"]}')
      expect(await effects('twice')).toBe(1)
    })

    test('a response without a body stays without one', async () => {
      const request = { owner: 'ana', key: 'empty', fingerprint: 'f' }
      const effect = async () => ({ status: 204, body: undefined })
      await idempotency.run(request, effect)
      expect(await idempotency.run(request, effect)).toEqual({ response: { status: 204 }, replayed: true })
    })

    test("another owner's same key is another request", async () => {
      await idempotency.run({ owner: 'ana', key: 'shared', fingerprint: 'f' }, buy('shared'))
      const other = await idempotency.run({ owner: 'bob', key: 'shared', fingerprint: 'f' }, buy('shared'))
      expect(other.replayed).toBe(false)
      expect(await effects('shared')).toBe(2)
    })

    test('another request under the same key is refused', async () => {
      await idempotency.run({ owner: 'ana', key: 'other', fingerprint: 'f' }, buy('other'))
      const run = idempotency.run({ owner: 'ana', key: 'other', fingerprint: 'g' }, buy('other'))
      await expect(run).rejects.toMatchObject({ code: 'E_IDEMPOTENCY_MISMATCH' })
      expect(await effects('other')).toBe(1)
    })

    test('a copy in flight is refused at once, and holds no connection', async () => {
      const request = { owner: 'ana', key: 'flight', fingerprint: 'f' }
      const begun = Promise.withResolvers<void>()
      const goOn = Promise.withResolvers<void>()
      const first = idempotency.run(request, async (tx) => {
        await insert(tx, 'flight')
        begun.resolve()
        await goOn.promise
        return { status: 201, body: null }
      })
      await begun.promise
      const copies = await Promise.allSettled(Array.from({ length: 30 }, () => idempotency.run(request, buy('flight'))))
      for (const copy of copies) expect(copy).toMatchObject({ reason: { code: 'E_IDEMPOTENCY_IN_PROGRESS' } })
      expect(postgres.stats().total - postgres.stats().idle).toBe(1)
      goOn.resolve()
      await first
      expect(await effects('flight')).toBe(1)
    })

    const insertOnce = (name: string, wanted = true): EffectStatement => ({
      name: 'insert-once',
      changes: `inserted AS (
        INSERT INTO effects (name) SELECT $1::text WHERE $2::boolean AND EXISTS (SELECT FROM unclaimed) RETURNING id, name
      )`,
      response: `SELECT 201 AS status, json_build_object('z', 1, 'a', json_build_array(name)) AS body, id FROM inserted`,
      values: [name, wanted],
    })

    test('one statement: the second time, the response comes without its effect', async () => {
      const request = { owner: 'ana', key: 'statement', fingerprint: 'f' }
      const response = { status: 201, body: { z: 1, a: ['statement'] } }
      const first = await idempotency.runStatement<{ id: number }>(request, insertOnce('statement'))
      expect(first).toMatchObject({ response, replayed: false, row: { id: expect.any(Number) } })
      expect(await idempotency.runStatement(request, insertOnce('statement'))).toEqual({ response, replayed: true })
      expect(await idempotency.run(request, buy('statement'))).toEqual({ response, replayed: true })
      const other = idempotency.runStatement({ ...request, fingerprint: 'g' }, insertOnce('statement'))
      await expect(other).rejects.toMatchObject({ code: 'E_IDEMPOTENCY_MISMATCH' })
      expect(await effects('statement')).toBe(1)
    })

    test('one statement: copies at once have one effect', async () => {
      for (let round = 0; round < 10; round++) {
        const name = `copies-${round}`
        const request = { owner: 'ana', key: name, fingerprint: 'f' }
        const copies = Array.from({ length: 20 }, () => idempotency.runStatement(request, insertOnce(name)))
        const results = await Promise.allSettled(copies)
        const done = results.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []))
        expect(done.filter((outcome) => !outcome?.replayed)).toHaveLength(1)
        const refused = results.filter((result) => result.status === 'rejected')
        for (const copy of refused) expect(copy).toMatchObject({ reason: { code: 'E_IDEMPOTENCY_IN_PROGRESS' } })
        expect(await effects(name)).toBe(1)
      }
    })

    test('one statement: refused, it leaves the key free', async () => {
      const request = { owner: 'ana', key: 'unwanted', fingerprint: 'f' }
      expect(await idempotency.runStatement(request, insertOnce('unwanted', false))).toBeUndefined()
      const later = await idempotency.runStatement({ ...request, fingerprint: 'g' }, insertOnce('unwanted'))
      expect(later).toMatchObject({ replayed: false })
      expect(await effects('unwanted')).toBe(1)
    })

    test('a refusal leaves nothing behind, and the key free', async () => {
      const request = { owner: 'ana', key: 'refused', fingerprint: 'f' }
      const refuse = idempotency.run(request, async (tx) => {
        await insert(tx, 'refused')
        throw new Error('refused')
      })
      await expect(refuse).rejects.toThrow('refused')
      expect(await effects('refused')).toBe(0)
      expect(await idempotency.run({ ...request, fingerprint: 'g' }, buy('refused'))).toMatchObject({ replayed: false })
    })
  })
}
