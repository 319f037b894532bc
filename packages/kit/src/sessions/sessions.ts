import type { Store } from 'express-session'
import type { Scope } from '../scope.ts'

declare module 'express-session' {
  interface SessionData {
    /** Who is logged in. A session holds identity only: anything that changes per request would be lost between replicas. */
    userId?: string
    /** When the log-in happened, milliseconds since 1970: the absolute lifetime counts from here. */
    loggedInAt?: number
  }
}

/** Where sessions are kept. */
export interface SessionStore {
  scope: Scope
  store: Store
}
