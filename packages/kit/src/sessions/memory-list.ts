import type { sessionDefaults } from './sessions.ts'
import { handleOf, type ListedSession, type UserSessions } from './user-sessions.ts'

/** The sessions of this process alone. `lastUse` is `undefined` for one that is over. */
export function createMemoryList(
  { maxPerUser, barredMs }: Pick<typeof sessionDefaults, 'maxPerUser' | 'barredMs'>,
  lastUse: (id: string) => number | undefined,
  end: (id: string) => Promise<void>,
): UserSessions {
  const lists = new Map<string, Map<string, ListedSession>>()
  const endedAt = new Map<string, number>()
  const listOf = (userId: string) => lists.get(userId) ?? new Map<string, ListedSession>()
  const endThese = async (userId: string, sessions: ListedSession[]) => {
    await Promise.all(sessions.map(({ id }) => end(id)))
    for (const { id } of sessions) listOf(userId).delete(handleOf(id))
  }
  const add = async (userId: string, session: ListedSession) => {
    const list = listOf(userId).set(handleOf(session.id), session)
    lists.set(userId, list)
    if (list.size <= maxPerUser) return
    // Those that are over do not count. A young one may be about to be saved.
    const isOver = ({ id, createdAt }: ListedSession) => lastUse(id) === undefined && createdAt < Date.now() - barredMs
    for (const [handle, session] of list) if (isOver(session)) list.delete(handle)
    const oldestFirst = [...list.values()].sort((a, b) => a.createdAt - b.createdAt)
    await endThese(userId, oldestFirst.slice(0, Math.max(0, list.size - maxPerUser)))
  }
  return {
    add,
    async adopt(userId, session) {
      if ((endedAt.get(userId) ?? 0) >= session.createdAt) return false
      await add(userId, session)
      return true
    },
    list: async (userId) =>
      [...listOf(userId).values()].flatMap((session) => {
        const lastSeenAt = lastUse(session.id)
        return lastSeenAt === undefined ? [] : [{ ...session, lastSeenAt: Math.max(lastSeenAt, session.createdAt) }]
      }),
    async forget(userId, id) {
      listOf(userId).delete(handleOf(id))
    },
    async end(userId, handle) {
      const session = listOf(userId).get(handle)
      if (session) await endThese(userId, [session])
      return session
    },
    async endAll(userId, exceptId) {
      endedAt.set(userId, Date.now())
      const others = [...listOf(userId).values()].filter(({ id }) => id !== exceptId)
      await endThese(userId, others)
      return others
    },
  }
}
