import { type DestinationStream, type Logger as PinoLogger, pino } from 'pino'
import { serializeError } from './error.ts'
import { createLines, type Lines } from './lines.ts'
import { stdoutSink } from './stdout.ts'

export type Logger = PinoLogger

export interface LogOptions {
  service: string
  replicaId: string
  version: string
  level?: string
  destination?: DestinationStream
}

const secret = ['cookie', 'set-cookie', 'authorization', 'password', 'idempotency-key']
const redact = secret.flatMap((key) => [`["${key}"]`, `*["${key}"]`, `*.*["${key}"]`])

/**
 * JSON lines on standard output, which never wait for a reader: up to 1 MB waits in memory, and lines beyond it are dropped,
 * counted (`escala_log_lines_lost_total`) and reported once lines can be written again. Messages are constant and lower-case;
 * whatever varies is a field; errors go under `err`.
 */
export function createLog({ service, replicaId, version, level = 'info', destination }: LogOptions): Logger {
  const options = {
    level,
    base: { service, replicaId, version },
    timestamp: createTimestamp(),
    formatters: { level: (label: string) => ({ level: label }) },
    serializers: { err: serializeError },
    redact: { paths: redact, censor: '[redacted]' },
  }
  if (destination) return pino(options, destination)
  stdout ??= openStdout((lines) => log.warn({ lines }, 'log lines were lost'))
  const log: Logger = pino(options, stdout)
  return log
}

/** ISO 8601 with milliseconds. Only those change from line to line: the rest is made once a second. */
function createTimestamp(): () => string {
  let second = 0
  let start = ''
  return () => {
    const now = Date.now()
    const ms = now % 1000
    if (now - ms !== second) {
      second = now - ms
      start = `,"time":"${new Date(second).toISOString().slice(0, -4)}`
    }
    return `${start}${String(ms).padStart(3, '0')}Z"`
  }
}

/** For lines whose fields are known, and none of them is a secret: looking for those costs as much as the rest of the line. */
export function withoutRedaction(log: Logger): Logger {
  return log.child({}, { redact: { paths: [] } })
}

/** Lines of this process that could not be written, since it began. */
export function lostLogLines(): number {
  return stdout?.lost() ?? 0
}

/** Waits until what was logged is written, at most `ms`. */
export async function flushLogs(ms: number): Promise<void> {
  await stdout?.flush(ms)
}

let stdout: Lines | undefined // one for the process, as the stream itself

// How long the end of a process may wait for a reader that is slow.
const exitMs = 500

function openStdout(onLost: (lines: number) => void): Lines {
  const lines = createLines({ sink: stdoutSink(), onLost })
  process.on('exit', () => lines.flushSync(exitMs))
  return lines
}
