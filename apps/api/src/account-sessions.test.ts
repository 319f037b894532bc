import type { Client } from '@escala/testing/client'
import { afterAll, beforeAll, expect, inject, test } from 'vitest'
import { startTestCluster, type TestCluster } from './test-cluster.ts'

let cluster: TestCluster
beforeAll(async () => {
  cluster = await startTestCluster({ postgresUrl: inject('postgresUrl'), redisUrl: inject('redisUrl') })
})
afterAll(() => cluster.stop())

const statuses = (clients: Client[]) =>
  Promise.all(clients.map(async (client) => (await client.get('/v1/session')).status))

test('a user sees every session, whichever replica it began on, and ends one of them everywhere', async () => {
  const { user, ...account } = await cluster.loggedIn(0)
  const phone = cluster.client(1, undefined, { 'user-agent': `Phone ${'x'.repeat(300)}` })
  await phone.logIn(account.email, account.password)
  const { body } = await (cluster.everywhere(user)[2] as Client).get('/v1/sessions')
  expect(body.items).toHaveLength(2)
  const [newest, own] = body.items
  expect(newest).toMatchObject({ current: false, userAgent: `Phone ${'x'.repeat(194)}` })
  expect(own).toMatchObject({ current: true, userAgent: '' })
  expect(Date.parse(newest.lastSeenAt)).toBeGreaterThanOrEqual(Date.parse(newest.createdAt))
  for (const { id } of body.items) expect([...phone.cookies.values()].join()).not.toContain(id)

  expect((await user.delete(`/v1/sessions/${newest.id}`)).status).toBe(204)
  expect(await statuses(cluster.everywhere(phone))).toEqual([401, 401, 401])
  expect(await statuses(cluster.everywhere(user))).toEqual([200, 200, 200])
  expect(await user.delete(`/v1/sessions/${newest.id}`)).toMatchObject({ status: 404, body: { code: 'E_NOT_FOUND' } })
  expect((await user.get('/v1/sessions')).body.items).toHaveLength(1)
})

test("another user's session is not found, and goes on", async () => {
  const [ann, eve] = [await cluster.loggedIn(0), await cluster.loggedIn(1)]
  const { id } = (await ann.user.get('/v1/sessions')).body.items[0]
  expect((await eve.user.delete(`/v1/sessions/${id}`)).status).toBe(404)
  expect(await statuses(cluster.everywhere(ann.user))).toEqual([200, 200, 200])
  const nobody = cluster.client()
  expect((await nobody.get('/v1/sessions')).body.code).toBe('E_NOT_LOGGED_IN')
  expect((await nobody.delete('/v1/sessions')).body.code).toBe('E_NOT_LOGGED_IN')
})

test('ending the current one logs out; ending all ends every one, on every replica', async () => {
  const { user, ...account } = await cluster.loggedIn(0)
  const { id } = (await user.get('/v1/sessions')).body.items[0]
  expect((await user.delete(`/v1/sessions/${id}`)).status).toBe(204)
  expect(user.cookies.has('sid')).toBe(false)

  const others = await Promise.all([0, 1, 2].map((replica) => cluster.loggedIn(replica, account)))
  expect((await others[0]?.user.delete('/v1/sessions'))?.status).toBe(204)
  const seen = await Promise.all(others.map(({ user }) => statuses(cluster.everywhere(user))))
  expect(seen.flat()).toEqual(Array(9).fill(401))
  const again = await cluster.loggedIn(1, account)
  expect((await again.user.get('/v1/sessions')).body.items).toHaveLength(1)
})
