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
  return destination ? pino(options, destination) : pino(options)
}
