import { createMemorySessions } from '@escala/kit/sessions/memory.ts'
import type { Parts } from '../../apps/api/src/parts.ts'

/** As express-session does it when nobody says where sessions go: each replica remembers its own log-ins. */
export const apiParts: Partial<Parts> = {
  sessions: () => createMemorySessions(),
}
