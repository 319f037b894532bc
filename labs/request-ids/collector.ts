import { answer, listen, readJson } from '@escala/testing/peers/control'

export interface CollectedSpan {
  service: string
  name: string
  traceId: string
  spanId: string
  parentSpanId: string
  failed: boolean
}

interface Export {
  resourceSpans: {
    resource: { attributes: { key: string; value: { stringValue?: string } }[] }
    scopeSpans: { spans: (Omit<CollectedSpan, 'service' | 'failed'> & { status?: { code?: number } })[] }[]
  }[]
}

/** The least that can call itself a collector: takes OTLP over HTTP as JSON, and keeps the spans. */
export async function startCollector() {
  const spans: CollectedSpan[] = []
  const server = await listen(async (req, res) => {
    const body = (await readJson(req)) as unknown as Export | undefined
    if (req.url !== '/v1/traces' || body === undefined) return answer(res, 404, {})
    for (const { resource, scopeSpans } of body.resourceSpans) {
      const service = resource.attributes.find(({ key }) => key === 'service.name')?.value.stringValue ?? ''
      for (const span of scopeSpans.flatMap(({ spans }) => spans)) {
        spans.push({ ...span, service, failed: span.status?.code === 2 })
      }
    }
    answer(res, 200, {})
  })
  return { url: server.url, spans, stop: server.stop }
}
