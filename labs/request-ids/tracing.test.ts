import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { startCluster } from '@escala/testing/cluster'
import { expect, inject, test, vi } from 'vitest'
import { createBuyer, createShow, order, untilQuiet } from '../shop.ts'
import { type CollectedSpan, startCollector } from './collector.ts'

test('switched on by its address, one trace leads from NGINX through API, outbox and jobs to provider and mail', async ({
  skip,
}) => {
  skip(inject('driver') === 'docker', 'the collector is a process of this machine')
  const collector = await startCollector()
  const env = { OTEL_EXPORTER_OTLP_ENDPOINT: collector.url }
  await using cluster = await startCluster({ replicas: 2, workers: 1, env, workerEnv: env })
  const [show, buyer] = await Promise.all([createShow(cluster), createBuyer(cluster)])
  const forged = `00-${'a'.repeat(32)}-${'b'.repeat(16)}-01`
  const pretending = {
    ...buyer,
    post: (path: string, body: unknown, headers = {}) => buyer.post(path, body, { ...headers, traceparent: forged }),
  }
  const { status, headers } = await order(pretending, show)
  expect(status).toBe(201)
  await untilQuiet({ cluster, buyer, orders: 1, progress() {} })

  const traceId = String(headers['x-request-id'])
  const path = ['POST /v1/shows/:id/orders', 'order.charge', 'POST /charges', 'order.mail', 'mail']
  const trace = await vi.waitFor(() => {
    const spans = collector.spans.filter((span) => span.traceId === traceId)
    expect(spans.map(({ name }) => name)).toEqual(expect.arrayContaining(path))
    return new Map(spans.map((span) => [span.name, span]))
  }, 10_000)
  const [placed, charge, asked, confirm, mailed] = path.map((name) => trace.get(name)) as [
    CollectedSpan,
    CollectedSpan,
    CollectedSpan,
    CollectedSpan,
    CollectedSpan,
  ]
  expect([placed.service, charge.service]).toEqual(['escala-api', 'escala-worker'])
  expect(placed.parentSpanId).toBe(traceId.slice(0, 16)) // NGINX's
  expect(charge.parentSpanId).toBe(placed.spanId)
  expect(asked.parentSpanId).toBe(charge.spanId)
  expect(confirm.parentSpanId).toBe(charge.spanId)
  expect(mailed.parentSpanId).toBe(confirm.spanId)
  expect(trace.get('tickets-order-place')?.parentSpanId).toBe(placed.spanId)
  expect(trace.get('tickets-order-charging')?.parentSpanId).toBe(charge.spanId)

  const [payment] = (await cluster.payments.seen()).charges
  const [mail] = await cluster.mail.mails()
  expect(payment?.traceparent).toBe(`00-${traceId}-${asked.spanId}-01`)
  expect(mail?.headers.traceparent).toBe(`00-${traceId}-${mailed.spanId}-01`)
  expect(collector.spans.filter((span) => span.traceId === 'a'.repeat(32))).toEqual([])
  await collector.stop()
})

test('switched off, not one of its modules is loaded', async () => {
  const script = `
    import { registerHooks } from 'node:module'
    const loaded = []
    registerHooks({ load: (url, context, next) => (loaded.push(url), next(url, context)) })
    const { startTracing } = await import('@escala/kit/tracing/start')
    await import('@escala/api/compose')
    await import('@escala/worker/compose')
    await startTracing({ endpoint: undefined })
    const count = () => loaded.filter((url) => /@opentelemetry\\/(?!api\\/)/.test(url)).length
    const off = count()
    await startTracing({ endpoint: 'http://127.0.0.1:1', ratio: 1, appName: '', service: '', replicaId: '', version: '' })
    console.log(off, count() > 10)
    process.exit()`
  const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '-e', script], {
    cwd: fileURLToPath(new URL('../..', import.meta.url)),
  })
  expect(stdout).toBe('0 true\n')
})
