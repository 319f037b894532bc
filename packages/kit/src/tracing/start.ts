import { carriedTracing, type Tracing } from './tracing.ts'

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

export async function startTracing({ endpoint, ...options }: TracingOptions): Promise<Tracing> {
  if (endpoint === undefined) return carriedTracing
  const { createOpenTelemetry } = await import('./opentelemetry.ts')
  return createOpenTelemetry(options)
}
