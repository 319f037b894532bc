/**
 * Which tables have changed, as this process hears with its heartbeat: no polling is needed. Triggers count the changes of each
 * table in `changes` (`0014_changes.sql`).
 */
export interface Changes {
  /**
   * Calls `listener` when the table has changed, at most one heartbeat after the change was committed; and once for the first
   * heartbeat, since earlier changes are unknown. Returns what removes it.
   */
  onChange(table: string, listener: () => void): () => void
  /**
   * Takes in what a heartbeat has read: how often each table has changed. Throws the first failure of a listener, after all
   * others were called.
   */
  heard(revisions: Record<string, number>): void
}

export function createChanges(): Changes {
  const known = new Map<string, number>()
  const listeners = new Map<string, Set<() => void>>()
  return {
    onChange(table, listener) {
      const own = listeners.get(table) ?? new Set()
      listeners.set(table, own.add(listener))
      return () => void own.delete(listener)
    },
    heard(revisions) {
      const failures: unknown[] = []
      for (const [table, revision] of Object.entries(revisions)) {
        if (known.get(table) === revision) continue
        known.set(table, revision)
        for (const listener of [...(listeners.get(table) ?? [])]) {
          try {
            listener()
          } catch (failure) {
            failures.push(failure)
          }
        }
      }
      if (failures.length > 0) throw failures[0]
    },
  }
}
