import { bootErrors } from '../errors/errors.ts'
import type { Scope } from '../scope.ts'

/** Field → value. */
export type SessionRecord = Record<string, string>

/** What modules keep beside a session because it changes often: a draft, a choice of filters. */
export interface SessionState {
  scope: Scope
  /**
   * Opens the records of one kind, one record per session. Call it while the routes are made. `name` is a part of the stored key:
   * lower-case letters, digits and dashes, at most 40. Throws `E_MODULE` for another name, or one that is already open.
   */
  open(name: string, options?: SessionRecordOptions): SessionRecords
  /** Returns every record beside a session, by name; those without a field are left out. Renews none. */
  readAll(key: string): Promise<Record<string, SessionRecord>>
  /** Removes every record beside a session: of every name that is open. */
  clearAll(key: string): Promise<void>
}

/**
 * Records of one kind. `key` is `sessionOrigin(req)`, which log-in does not change. Each write changes one field by itself, so that
 * parallel writes on several replicas lose nothing.
 */
export interface SessionRecords {
  /** Returns the record (empty if there is none) and renews its life. */
  get(key: string, options?: SessionRecordUse): Promise<SessionRecord>
  /**
   * Sets a field, or removes it when `value` is `undefined`, and renews the record's life. Returns the whole record, or `undefined`
   * if it already has `maxFields` others. Throws a `RangeError` for a field and value of more than `maxFieldBytes` together, which
   * the route's schema must rule out.
   */
  put(
    key: string,
    field: string,
    value: string | undefined,
    options?: SessionRecordUse,
  ): Promise<SessionRecord | undefined>
  /** Removes the whole record. */
  clear(key: string): Promise<void>
}

export interface SessionRecordUse {
  /** The user is not logged in: the record lives for `visitorIdleMs`. */
  isVisitor?: boolean
}

export interface SessionRecordOptions {
  /** A record that is not used for this long is gone. Default: one day, as a session's idle time. */
  idleMs?: number
  /** The same for a visitor who is not logged in, since anyone can create such records. Default: one hour, as for a visitor's session. */
  visitorIdleMs?: number
  /** Default: 50. */
  maxFields?: number
  /** UTF-8 bytes of a field's name and value together. Default: 1,000. */
  maxFieldBytes?: number
}

export const sessionRecordDefaults = {
  idleMs: 24 * 3_600_000,
  visitorIdleMs: 3_600_000,
  maxFields: 50,
  maxFieldBytes: 1000,
}

/** Throws a `RangeError` for a field that is too large. */
export function checkField(field: string, value: string | undefined, maxFieldBytes: number): void {
  const bytes = Buffer.byteLength(field) + Buffer.byteLength(value ?? '')
  if (bytes > maxFieldBytes) throw new RangeError(`a field of ${bytes} bytes; at most ${maxFieldBytes}`)
}

/** Returns a function that throws `E_MODULE` for a name that is malformed or taken, and otherwise takes it. */
export function createNames(taken: string[] = []): (name: string) => void {
  const names = new Set(taken)
  return (name) => {
    if (!/^[a-z][a-z0-9-]{0,39}$/.test(name) || names.has(name)) {
      throw bootErrors.E_MODULE({ detail: `the name ${name} of a record beside sessions is malformed or taken` })
    }
    names.add(name)
  }
}
