import { afterAll, beforeAll, expect, inject, test } from 'vitest'
import { startTestCluster, type TestCluster } from './test-cluster.ts'

let cluster: TestCluster
beforeAll(async () => {
  cluster = await startTestCluster({ postgresUrl: inject('postgresUrl'), redisUrl: inject('redisUrl') })
})
afterAll(() => cluster.stop())

test('a token that is not one is refused everywhere but on public reads', async () => {
  for (const authorization of ['Bearer none', `Bearer escala_${'x'.repeat(43)}`, 'bearer ']) {
    const machine = cluster.client(0, undefined, { authorization })
    expect(await machine.get('/v1/session')).toMatchObject({ status: 401, body: { code: 'E_NOT_LOGGED_IN' } })
    expect((await machine.post('/v1/users', {})).status).toBe(401)
    expect((await machine.get('/v1/openapi.json')).status).toBe(200)
  }
})

test('a token that cannot be looked up is refused where one is needed; public reads go on, and count for their address alone', async () => {
  const machine = cluster.client(0, undefined, { authorization: `Bearer escala_${'x'.repeat(43)}` })
  const policies = async () => String((await machine.get('/v1/openapi.json')).headers['ratelimit-policy'])
  expect(await policies()).toMatch(/"address".*"general"/)
  await cluster.postgres.query('ALTER TABLE access_tokens RENAME TO tokens_elsewhere')
  try {
    expect((await machine.get('/v1/openapi.json')).status).toBe(200)
    expect(await policies()).toMatch(/^"address"[^"]*$/)
    expect((await machine.get('/v1/session')).status).toBe(500)
  } finally {
    await cluster.postgres.query('ALTER TABLE tokens_elsewhere RENAME TO access_tokens')
  }
})

test('tokens need the scopes of some route, an end within a year, and a log-in or the password', async () => {
  const { user, password } = await cluster.loggedIn(0)
  const make = (more: object) => user.post('/v1/tokens', { name: 'CI', scopes: ['none:such'], ...more })
  expect(await make({})).toMatchObject({ status: 400, body: { fields: { scopes: expect.any(String) } } })
  expect((await make({ name: '' })).body.fields).toHaveProperty('name')
  expect((await make({ password })).status).toBe(400)
})
