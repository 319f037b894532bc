import { createMemorySessions } from '@escala/kit/sessions/memory'
import type { Parts } from '../../apps/api/src/parts.ts'

/** As express-session does it by default: each replica remembers its own log-ins. */
export const apiParts: Partial<Parts> = {
  sessions: () => createMemorySessions(),
}
