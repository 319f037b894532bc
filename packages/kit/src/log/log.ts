import { type DestinationStream, type Logger as PinoLogger, pino, stdSerializers } from 'pino'

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

/** JSON lines on standard output. Messages are constant and lower-case; whatever varies is a field; errors go under `err`. */
export function createLog({ service, replicaId, version, level = 'info', destination }: LogOptions): Logger {
  const options = {
    level,
    base: { service, replicaId, version },
    timestamp: () => `,"time":"${new Date().toISOString()}"`,
    formatters: { level: (label: string) => ({ level: label }) },
    serializers: { err: stdSerializers.err },
    redact: { paths: redact, censor: '[redacted]' },
  }
  stdout ??= oncePerTurn()
  return pino(options, destination ?? stdout)
}

/** For lines whose fields are known, and none of them is a secret: looking for those costs as much as the rest of the line. */
export function withoutRedaction(log: Logger): Logger {
  return log.child({}, { redact: { paths: [] } })
}

let stdout: DestinationStream | undefined // one for the process, as the stream itself

/** Lines of one turn of the event loop leave in one write. Also at the exit, but for a SIGKILL within that turn. */
function oncePerTurn(): DestinationStream {
  const stream = pino.destination({ fd: 1, sync: true, minLength: 8192 })
  let planned = false
  const flush = () => {
    planned = false
    stream.flushSync()
  }
  process.on('exit', flush)
  return {
    write(line) {
      stream.write(line)
      if (planned) return
      planned = true
      setImmediate(flush)
    },
  }
}
