import session from 'express-session'
import { createMemoryList } from './memory-list.ts'
import { endedSession, type SessionStore, type SessionStoreOptions, sessionDefaults } from './sessions.ts'

/** Sessions in this process alone: another replica knows none of them. For one replica, and for seeing what breaks with two. */
export function createMemorySessions(options: SessionStoreOptions = {}): SessionStore {
  const { idleMs, visitorIdleMs, barredMs, maxPerUser } = { ...sessionDefaults, ...options }
  const store = new session.MemoryStore()
  const lastUse = new Map<string, number>()
  const visitors = new Set<string>()
  const barredUntil = new Map<string, number>()
  const claimedBy = new Map<string, string>()
  const { get, set, destroy, clear } = store

  const isBarred = (id: string) => (barredUntil.get(id) ?? 0) > Date.now()

  store.get = (id, callback) => {
    if (isBarred(id)) return void setImmediate(() => callback(null, structuredClone(endedSession)))
    if (Date.now() - (lastUse.get(id) ?? 0) > (visitors.has(id) ? visitorIdleMs : idleMs))
      return forget(id, (error) => callback(error, null))
    lastUse.set(id, Date.now())
    get.call(store, id, callback)
  }
  store.set = (id, data, callback) => {
    if (isBarred(id)) return void setImmediate(() => callback?.())
    lastUse.set(id, Date.now())
    if (data.userId === undefined) visitors.add(id)
    else visitors.delete(id)
    set.call(store, id, data, callback)
  }
  store.destroy = (id, callback) => {
    for (const [other, until] of barredUntil)
      if (until <= Date.now()) {
        barredUntil.delete(other)
        claimedBy.delete(other)
      }
    barredUntil.set(id, Date.now() + barredMs)
    forget(id, callback)
  }
  store.clear = (callback) => {
    lastUse.clear()
    visitors.clear()
    clear.call(store, callback)
  }
  // With a `touch`, express-session would hold back the last byte of every answer.
  Object.assign(store, { touch: undefined })

  function forget(id: string, callback?: (error?: unknown) => void): void {
    lastUse.delete(id)
    visitors.delete(id)
    destroy.call(store, id, callback)
  }

  const end = (id: string) =>
    new Promise<void>((resolve, reject) => store.destroy(id, (error) => (error ? reject(error) : resolve())))
  const isLive = (id: string) => Date.now() - (lastUse.get(id) ?? 0) <= idleMs

  return {
    scope: 'process',
    ofUser: createMemoryList({ maxPerUser, barredMs }, (id) => (isLive(id) ? lastUse.get(id) : undefined), end),
    store,
    async claim(id, userId) {
      const isKnown = lastUse.has(id)
      const ended = end(id)
      if (isKnown) claimedBy.set(id, userId)
      await ended
      return claimedBy.get(id) === userId
    },
  }
}
