import { expect, test } from 'vitest'
import { createMetrics } from './metrics.ts'

const labels = { service: 'api', replica: 'a', version: '1' }

test('requests are counted by their pattern', async () => {
  const metrics = createMetrics(labels)
  metrics.request({ method: 'GET', route: '/v1/things/:id', status: 200, ms: 3 })
  metrics.request({ method: 'GET', route: '/v1/things/:id', status: 200, ms: 30 })
  const text = await metrics.text()
  expect(text).toMatch(/http_requests_total\{method="GET",route="\/v1\/things\/:id",status="200",service="api".*\} 2/)
  expect(text).toMatch(/http_request_duration_seconds_bucket\{le="0.005",.*route="\/v1\/things\/:id".*\} 1/)
})

test('a source that fails is left out and hides no other', async () => {
  const metrics = createMetrics(labels)
  metrics.gauge('broken', 'cannot be asked', () => Promise.reject(new Error('away')))
  metrics.gauges('jobs', 'by state', 'state', () => ({ waiting: 4 }))
  const text = await metrics.text()
  expect(text).not.toMatch(/^broken\{/m)
  expect(text).toMatch(/jobs\{state="waiting".*\} 4/)
})

test('names begin with the name of the application', async () => {
  const metrics = createMetrics({ ...labels, appName: 'my-shop' })
  metrics.gauge('escala_streams', 'open', () => 3)
  metrics.gauge('links_created', 'of a module', () => 4)
  const text = await metrics.text()
  expect(text).toMatch(/^my_shop_streams\{.*\} 3/m)
  expect(text).toMatch(/^my_shop_log_lines_lost_total\{/m)
  expect(text).toMatch(/^links_created\{.*\} 4/m)
  expect(text).not.toContain('escala')
})

test('two compositions in one process count apart', async () => {
  const [one, other] = [createMetrics(labels), createMetrics({ ...labels, replica: 'b' })]
  one.request({ method: 'GET', route: '/', status: 200, ms: 1 })
  expect(await other.text()).not.toMatch(/^http_requests_total\{/m)
})
