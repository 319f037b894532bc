import { styleText } from 'node:util'

const levels: Record<number, ['DEBUG' | 'INFO' | 'WARN' | 'ERROR' | 'FATAL', Parameters<typeof styleText>[0]]> = {
  20: ['DEBUG', 'gray'],
  30: ['INFO', 'green'],
  40: ['WARN', 'yellow'],
  50: ['ERROR', 'red'],
  60: ['FATAL', 'red'],
}
// The same in every line of one process.
const hidden = new Set(['level', 'time', 'msg', 'service', 'replicaId', 'version', 'pid', 'hostname', 'err'])

/** One line of pino's JSON for a person; any other line as it is. */
export function prettyLine(name: string, line: string): string {
  const prefix = styleText('cyan', name.padEnd(6))
  const record = parse(line)
  if (record === undefined) return `${prefix} ${line}`
  const [level, colour] = levels[Number(record.level)] ?? ['INFO', 'gray']
  const time = new Date(record.time as string | number).toTimeString().slice(0, 8)
  const fields = Object.entries(record)
    .filter(([key]) => !hidden.has(key))
    .map(([key, value]) => `${key}=${typeof value === 'string' ? value : JSON.stringify(value)}`)
  const head = [
    styleText('gray', time),
    prefix,
    styleText(colour, level.padEnd(5)),
    record.msg,
    styleText('gray', fields.join(' ')),
  ]
  const stack = (record.err as { stack?: string } | undefined)?.stack
  return head.join(' ').trimEnd() + (stack ? `\n${stack}` : '')
}

function parse(line: string): Record<string, unknown> | undefined {
  if (!line.startsWith('{')) return undefined
  try {
    return JSON.parse(line)
  } catch {
    return undefined
  }
}
