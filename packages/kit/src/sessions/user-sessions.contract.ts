import { randomUUID } from 'node:crypto'
import { describe, expect, test, vi } from 'vitest'
import { createBrowser, serveSessions } from './sessions.contract.ts'
import type { SessionStore, SessionStoreOptions } from './sessions.ts'
import { handleOf, type ListedSession } from './user-sessions.ts'

type Create = (options: SessionStoreOptions) => [SessionStore, SessionStore]

/** What every adapter's lists of sessions must do; the two stores are two replicas'. */
export function describeUserSessions(name: string, create: Create): void {
  const logIn = async (url: string, user: string, headers?: Record<string, string>) => {
    const browser = createBrowser()
    await browser.send('POST', `${url}/log-in/${user}`, headers)
    return browser
  }
  const whoIs = async (browser: ReturnType<typeof createBrowser>, url: string) =>
    (await browser.send('GET', `${url}/me`)).body.userId
  const entry = (id: string, createdAt: number): ListedSession => ({ id, createdAt, userAgent: '', origin: id })

  describe(name, () => {
    test('lists the sessions of one user; one that was ended is refused on the other replica', async () => {
      const [one, two] = create({})
      const [{ url }, other] = [await serveSessions(one), await serveSessions(two)]
      const [user, stranger] = [randomUUID(), randomUUID()]
      const browsers = [await logIn(url, user), await logIn(other.url, user)] as const
      await logIn(url, stranger)
      const listed = await two.ofUser.list(user)
      expect(listed).toHaveLength(2)
      expect(new Set(listed.map(({ id }) => handleOf(id))).size).toBe(2)
      const [first] = listed.sort((a, b) => a.createdAt - b.createdAt)
      expect(await two.ofUser.end(stranger, handleOf(first?.id ?? ''))).toBeUndefined()
      expect(await two.ofUser.end(user, handleOf(first?.id ?? ''))).toMatchObject({ id: first?.id })
      const left = (await one.ofUser.list(user)).map(({ id }) => id)
      expect(left).toEqual([listed[1]?.id])
      const seen = await Promise.all(browsers.map((browser) => whoIs(browser, url)))
      expect(seen.sort()).toEqual([null, user].sort())
    })

    test('ends all but one, and those that began under a version without lists', async () => {
      const [one, two] = create({})
      const { url } = await serveSessions(one)
      const user = randomUUID()
      const [kept, gone] = [await logIn(url, user), await logIn(url, user)]
      const older = await logIn(url, user)
      const ids = await one.ofUser.list(user)
      const last = ids.sort((a, b) => a.createdAt - b.createdAt).at(-1)?.id ?? ''
      await withoutList(one, user, last)
      const keptId = ids[0]?.id
      expect((await two.ofUser.endAll(user, keptId)).map(({ id }) => id)).toEqual([ids[1]?.id])
      expect(await whoIs(kept, url)).toBe(user)
      expect([await whoIs(gone, url), await whoIs(older, url)]).toEqual([null, null])
    })

    test('a session that began under a version without lists goes on, and is listed from its next request on', async () => {
      const [one, two] = create({})
      const [{ url }, other] = [await serveSessions(one), await serveSessions(two)]
      const user = randomUUID()
      const browser = await logIn(url, user)
      const [session] = await one.ofUser.list(user)
      await withoutList(one, user, session?.id ?? '')
      expect(await one.ofUser.list(user)).toEqual([])
      expect(await Promise.all([whoIs(browser, url), whoIs(browser, other.url)])).toEqual([user, user])
      expect(await two.ofUser.list(user)).toMatchObject([{ id: session?.id }])
    })

    test('one more session than the limit ends the oldest', async () => {
      const [one, two] = create({ maxPerUser: 2 })
      const { url } = await serveSessions(one)
      const user = randomUUID()
      const first = await logIn(url, user)
      await two.ofUser.add(user, entry(randomUUID(), Date.now() + 1))
      expect(await whoIs(first, url)).toBe(user)
      await two.ofUser.add(user, entry(randomUUID(), Date.now() + 2))
      expect(await whoIs(first, url)).toBe(null)
    })

    test('one more session than the limit ends none when another is over', async () => {
      const [one, two] = create({ maxPerUser: 2, barredMs: 1 })
      const { url } = await serveSessions(one)
      const user = randomUUID()
      const first = await logIn(url, user)
      const over = entry(randomUUID(), Date.now())
      await two.ofUser.add(user, over)
      await vi.waitFor(() => expect(Date.now()).toBeGreaterThan(over.createdAt + 1))
      const last = await logIn(url, user)
      expect(await Promise.all([whoIs(first, url), whoIs(last, url)])).toEqual([user, user])
    })

    test.each(['saved', 'listed'] as const)(
      'a log-in that may not have been %s leaves no session and no cookie',
      async (what) => {
        const [one] = create({})
        const user = randomUUID()
        let begun = ''
        const store: SessionStore['store'] = Object.create(one.store)
        const lost = new Error('the reply is lost')
        store.set = (id, data, done) => {
          begun = id
          one.store.set(id, data, (error) => done?.(error ?? (what === 'saved' ? lost : undefined)))
        }
        const add: SessionStore['ofUser']['add'] = async (...given) => {
          await one.ofUser.add(...given)
          if (what === 'listed') throw lost
        }
        const { url } = await serveSessions({ ...one, store, ofUser: { ...one.ofUser, add } })
        const { status, setCookie } = await createBrowser().send('POST', `${url}/log-in/${user}`)
        expect([status, setCookie]).toEqual([what === 'saved' ? 503 : 500, undefined])
        expect(await one.ofUser.list(user)).toEqual([])
        const left = await new Promise((resolve) => one.store.get(begun, (_error, data) => resolve(data)))
        expect(left).toMatchObject({ ended: true })
      },
    )

    test('a session that was logged out is not listed', async () => {
      const [one, two] = create({})
      const { url } = await serveSessions(one)
      const user = randomUUID()
      const browser = await logIn(url, user)
      await browser.send('POST', `${url}/log-in/${user}`) // another id
      expect(await two.ofUser.list(user)).toHaveLength(1)
      await browser.send('POST', `${url}/log-out`)
      expect(await two.ofUser.list(user)).toEqual([])
    })
  })
}

/** Makes a session what the version before left. */
async function withoutList({ store, ofUser }: SessionStore, user: string, id: string): Promise<void> {
  await ofUser.forget(user, id)
  const data = await new Promise<Parameters<typeof store.set>[1]>((resolve, reject) =>
    store.get(id, (error, found) => (found ? resolve(found) : reject(error))),
  )
  const { listed: _, ...older } = data
  await new Promise<void>((resolve, reject) => store.set(id, older, (error) => (error ? reject(error) : resolve())))
}
