import { createMemorySessions } from './memory.ts'
import { describeSessions } from './sessions.contract.ts'
import type { SessionStore, SessionStoreOptions } from './sessions.ts'
import { describeUserSessions } from './user-sessions.contract.ts'

const create = (options: SessionStoreOptions = {}): [SessionStore, SessionStore] => {
  const sessions = createMemorySessions(options)
  return [sessions, sessions]
}

describeSessions('sessions in memory', create)
describeUserSessions('lists of sessions in memory', create)
