import { AsyncLocalStorage } from 'node:async_hooks'
import { type Context, ROOT_CONTEXT, SpanKind, SpanStatusCode, trace } from '@opentelemetry/api'
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-http'
import { detectResources, envDetector, resourceFromAttributes } from '@opentelemetry/resources'
import {
  AlwaysOffSampler,
  BatchSpanProcessor,
  ParentBasedSampler,
  TraceIdRatioBasedSampler,
  TracerProvider,
} from '@opentelemetry/sdk-trace'
import type { Tracing, TracingOptions } from './tracing.ts'

const kinds = { server: SpanKind.SERVER, consumer: SpanKind.CONSUMER, client: SpanKind.CLIENT }

/**
 * Spans of the kit's own making, over OTLP/HTTP: nothing is patched, so it does not matter what was imported first. Where to, with
 * which headers and under which name: OpenTelemetry reads its own `OTEL_` variables. An unreachable collector costs spans, nothing else.
 */
export function createOpenTelemetry(options: Omit<TracingOptions, 'endpoint'>): Tracing {
  const { ratio, appName, service, replicaId, version } = options
  const own = { 'service.name': `${appName}-${service}`, 'service.instance.id': replicaId, 'service.version': version }
  const kept = new TraceIdRatioBasedSampler(ratio)
  const provider = new TracerProvider({
    resource: resourceFromAttributes(own).merge(detectResources({ detectors: [envDetector] })),
    // The process that starts the trace marks it as kept (NGINX marks each), so the mark alone would keep them all.
    sampler: new ParentBasedSampler({
      root: kept,
      remoteParentSampled: kept,
      remoteParentNotSampled: new AlwaysOffSampler(),
    }),
    spanProcessors: [new BatchSpanProcessor({ exporter: new OTLPTraceExporter(), scheduledDelayMillis: 1000 })],
  })
  const tracer = provider.getTracer('escala')
  // What is called within a span cannot see another's: this holds nothing of its own between them.
  const scope = new AsyncLocalStorage<Context>()

  return {
    async span({ name, kind, traceparent, attributes }, work) {
      const parent = (kind === 'client' ? scope.getStore() : undefined) ?? contextOf(traceparent)
      if (parent === undefined && kind === 'client') return await work({ traceparent, describe() {} })
      const span = tracer.startSpan(name, { kind: kinds[kind], attributes }, parent ?? ROOT_CONTEXT)
      const { traceId, spanId, traceFlags } = span.spanContext()
      const failed = () => span.setStatus({ code: SpanStatusCode.ERROR })
      try {
        return await scope.run(trace.setSpan(ROOT_CONTEXT, span), () =>
          work({
            traceparent: `00-${traceId}-${spanId}-0${traceFlags & 1}`,
            describe(details) {
              if (details.name !== undefined) span.updateName(details.name)
              if (details.attributes) span.setAttributes(details.attributes)
              if (details.failed) failed()
            },
          }),
        )
      } catch (error) {
        failed()
        if (error instanceof Error && 'code' in error) span.setAttribute('error.type', String(error.code))
        throw error
      } finally {
        span.end()
      }
    },
    stop: () => provider.shutdown(),
  }
}

function contextOf(traceparent: string | undefined): Context | undefined {
  if (traceparent === undefined) return undefined
  const [, traceId = '', spanId = '', flags = ''] = traceparent.split('-')
  const spanContext = { traceId, spanId, traceFlags: Number.parseInt(flags, 16) & 1, isRemote: true }
  return trace.setSpanContext(ROOT_CONTEXT, spanContext)
}
