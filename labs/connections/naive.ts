/** Ten connections for each replica, because that is what `pg` takes when nobody says anything. What the server allows is its own affair. */
export function tenEach(maxProcesses: number): Record<string, string> {
  const perProcess = 10 + 1 // the registry's own
  return { DB_CONNECTIONS: String(perProcess * maxProcesses), MAX_PROCESSES: String(maxProcesses) }
}
