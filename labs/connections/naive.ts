/** Ten connections for each replica, because that is the default of `pg`. What the server allows is ignored. */
export function tenEach(maxProcesses: number): Record<string, string> {
  const perProcess = 10 + 1 // the registry's own
  return { DB_CONNECTIONS: String(perProcess * maxProcesses), MAX_PROCESSES: String(maxProcesses) }
}
