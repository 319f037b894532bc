import { carriedTracing, type Tracing, type TracingOptions } from './tracing.ts'

export async function startTracing({ endpoint, ...options }: TracingOptions): Promise<Tracing> {
  if (endpoint === undefined) return carriedTracing
  const { createOpenTelemetry } = await import('./opentelemetry.ts')
  return createOpenTelemetry(options)
}
