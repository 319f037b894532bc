import { stdSerializers } from 'pino'

// What else libraries attach to an error may be data: ioredis the arguments of the command (passwords, session ids), pg the values
// of a row and of parameters, nodemailer addresses, Node the URL that it could not read.
const harmless = [
  'code',
  'errno',
  'syscall',
  'address',
  'port',
  'hostname',
  'path',
  'signal',
  'status',
  'statusCode',
  'responseCode',
  'retryAfterMs',
  'severity',
  'schema',
  'table',
  'column',
  'constraint',
  'dataType',
  'routine',
]

// Redis repeats the arguments of a command that it does not know, Postgres a value that it cannot read. A value can have lines; the
// stack begins behind them.
const quoted =
  /(, with args beginning with|invalid input (?:syntax|value) for [^:\n]*|malformed \w+ literal|date\/time field value out of range):[\s\S]*?(?=\n {4}at |$)/g
const outOfRange = /\bvalue "[^"]*"(?= is out of range for type)/g

/** Returns what a log line shows of an error: type, message, stack, causes, and only fields that cannot contain personal data. */
export function serializeError(error: unknown): unknown {
  // Whatever else was thrown may hold anything.
  if (!isErrorLike(error)) return { type: typeof error, message: 'not an error' }
  const { type, message, stack } = stdSerializers.err(error as unknown as Error)
  const { command, errors } = error as { command?: { name?: unknown }; errors?: unknown }
  const fields = harmless.filter((key) => ['string', 'number'].includes(typeof error[key]))
  return {
    type,
    message: withoutQuotes(message),
    stack: withoutQuotes(stack ?? ''),
    ...Object.fromEntries(fields.map((key) => [key, error[key]])),
    ...(typeof command?.name === 'string' && { command: command.name }),
    ...(Array.isArray(errors) && { aggregateErrors: errors.slice(0, 10).map(serializeError) }),
  }
}

function isErrorLike(error: unknown): error is Record<string, unknown> {
  return typeof error === 'object' && error !== null && 'message' in error && typeof error.message === 'string'
}

const withoutQuotes = (text: string) => text.replace(quoted, '$1 …').replace(outOfRange, 'value …')
