import { createMemorySessions } from './memory.ts'
import { describeSessions } from './sessions.contract.ts'

describeSessions('sessions in memory', (options) => {
  const sessions = createMemorySessions(options)
  return [sessions, sessions]
})
