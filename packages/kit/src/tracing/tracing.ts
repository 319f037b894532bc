export interface SpanOptions {
  /** Low-cardinality name (route, job type, statement); must not contain user data. */
  name: string
  kind: 'server' | 'consumer' | 'client'
  /** W3C's, of what this is a part of: a `client` is a part of what calls it, first of all. With neither, it is no span; the others begin a trace. */
  traceparent?: string
  attributes?: SpanAttributes
}

type SpanAttributes = Record<string, string | number | undefined>

export interface Span {
  /** For the header, message or job that hands the work on. */
  traceparent: string | undefined
  /** What is only known later. */
  describe(details: { name?: string; attributes?: SpanAttributes; failed?: boolean }): void
}

/** Traces lead through several processes by `traceparent`, https://www.w3.org/TR/trace-context/, which request, message and job carry. */
export interface Tracing {
  /** `work` is one span, and failed when it rejects. */
  span<T>(options: SpanOptions, work: (span: Span) => Promise<T>): Promise<T>
  /** Sends what it still holds. */
  stop(): Promise<void>
}

export interface TracingOptions {
  /** Without it nothing is recorded, and not one module of OpenTelemetry is loaded. */
  endpoint: string | undefined
  /** The part of all traces that is kept. Decided by the trace's id: every process keeps the same ones. */
  ratio: number
  /** Before the service in OpenTelemetry's `service.name`. */
  appName: string
  service: string
  replicaId: string
  version: string
}

/** Records nothing; whatever trace the work is a part of is handed on as it came in. */
export const carriedTracing: Tracing = {
  span: ({ traceparent }, work) => work({ traceparent, describe() {} }),
  async stop() {},
}

const wellFormed = /^00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}$/

export function isTraceparent(text: string | undefined): text is string {
  return text !== undefined && wellFormed.test(text)
}
