/** What is sent to a client about one kind of failure; `docs/errors.md` has a section for each. */
export interface ErrorKind {
  status: number
  /** RFC 9457's `title`: the same for every occurrence. */
  title: string
}

export interface ErrorOptions {
  /** RFC 9457's `detail`: this occurrence, in words that a client may see. */
  detail?: string
  /** Wrong parts of the input: JSON path → what is wrong with it. */
  fields?: Record<string, string>
  /** Sent as `Retry-After`, rounded up to whole seconds. */
  retryAfterMs?: number
  /** Which of the code's causes it was, for the log and the metrics: one of few constant texts. A client does not see it. */
  reason?: string
  cause?: unknown
}

/** The one error that the applications throw on purpose. Anything else that reaches the error handler is a bug: a 500. */
export class AppError extends Error {
  override readonly name = 'AppError'
  readonly code: string
  readonly kind: ErrorKind
  readonly fields: Record<string, string> | undefined
  readonly detail: string | undefined
  readonly retryAfterMs: number | undefined
  readonly reason: string | undefined

  constructor(code: string, kind: ErrorKind, options: ErrorOptions = {}) {
    super(options.detail ?? kind.title, options.cause === undefined ? undefined : { cause: options.cause })
    this.code = code
    this.kind = kind
    this.fields = options.fields
    this.detail = options.detail
    this.retryAfterMs = options.retryAfterMs
    this.reason = options.reason
  }
}

export type ErrorCatalogue<Code extends string> = Record<Code, (options?: ErrorOptions) => AppError>

/** Turns a table of kinds into functions that make the errors: `errors.E_NOT_FOUND({ detail })`. */
export function defineErrors<Code extends string>(kinds: Record<Code, ErrorKind>): ErrorCatalogue<Code> {
  const entries = Object.entries<ErrorKind>(kinds)
  return Object.fromEntries(
    entries.map(([code, kind]) => [code, (options?: ErrorOptions) => new AppError(code, kind, options)]),
  ) as ErrorCatalogue<Code>
}

export function hasCode(error: unknown, code: string): boolean {
  return typeof error === 'object' && error !== null && 'code' in error && error.code === code
}
