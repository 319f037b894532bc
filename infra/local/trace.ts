/** One line of any program's log. */
export interface TraceLine {
  record: Record<string, unknown>
  /** As it was written, without what a log collector puts before it. */
  text: string
}

export function parseLine(line: string): TraceLine | undefined {
  const start = line.indexOf('{')
  if (start === -1) return undefined
  const text = line.slice(start).trimEnd()
  try {
    return { record: JSON.parse(text), text }
  } catch {
    return undefined
  }
}

/**
 * The lines of one request or order, of all programs, in order of time: those that carry `id` anywhere, and those of every request
 * that carry it. So an order's id finds the request that placed it, its jobs and its queries, and each later look at it.
 */
export function traceOf(lines: TraceLine[], id: string): TraceLine[] {
  const naming = lines.filter(({ text }) => text.includes(id))
  const requests = new Set<unknown>(naming.flatMap(({ record }) => (record.requestId ? [record.requestId] : [])))
  return lines
    .filter(({ record, text }) => requests.has(record.requestId) || text.includes(id))
    .sort((a, b) => timeOf(a) - timeOf(b))
}

/** For a person: time, who, what, and the fields that differ between lines. */
export function prettyTrace({ record }: TraceLine): string {
  const { time, level, service, replicaId, version: _, msg, requestId, err, ...fields } = record
  const who = String(replicaId ?? service ?? 'nginx')
  const shown = { ...fields, ...(err ? { err: (err as { message?: string }).message ?? err } : {}), requestId }
  const text = Object.entries(shown).map(
    ([key, value]) => `${key}=${typeof value === 'string' ? value : JSON.stringify(value)}`,
  )
  const head = [String(time), who.padEnd(12), String(level ?? 'info').padEnd(5), String(msg ?? 'proxied')]
  return [...head, ...text].join('  ')
}

const timeOf = ({ record }: TraceLine) => Date.parse(String(record.time)) || 0
