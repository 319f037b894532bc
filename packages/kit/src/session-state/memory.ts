import { LRUCache } from 'lru-cache'
import {
  checkField,
  createNames,
  type SessionRecord,
  type SessionState,
  sessionRecordDefaults,
} from './session-state.ts'

/** Records in this process alone; of each kind, the 10,000 that were used last. */
export function createMemorySessionState(): SessionState {
  const takeName = createNames()
  const kinds = new Map<string, LRUCache<string, SessionRecord>>()
  return {
    scope: 'process',
    async readAll(key) {
      const found = [...kinds].map(([name, records]): [string, SessionRecord] => [name, { ...records.peek(key) }])
      return Object.fromEntries(found.filter(([, record]) => Object.keys(record).length > 0))
    },
    async clearAll(key) {
      for (const records of kinds.values()) records.delete(key)
    },
    open(name, options = {}) {
      takeName(name)
      const { idleMs, visitorIdleMs, maxFields, maxFieldBytes } = { ...sessionRecordDefaults, ...options }
      const records = new LRUCache<string, SessionRecord>({ max: 10_000, ttl: idleMs })
      kinds.set(name, records)
      return {
        async get(key, { isVisitor = false } = {}) {
          const record = records.get(key)
          if (record) records.set(key, record, { ttl: isVisitor ? visitorIdleMs : idleMs })
          return { ...record }
        },
        async put(key, field, value, { isVisitor = false } = {}) {
          checkField(field, value, maxFieldBytes)
          const record = { ...records.get(key) }
          if (value === undefined) delete record[field]
          else record[field] = value
          if (Object.keys(record).length > maxFields) return undefined
          records.set(key, record, { ttl: isVisitor ? visitorIdleMs : idleMs })
          return { ...record }
        },
        async clear(key) {
          records.delete(key)
        },
      }
    },
  }
}
