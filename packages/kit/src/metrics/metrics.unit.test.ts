import { expect, test } from 'vitest'
import { createMetrics, type Metrics } from './metrics.ts'

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

test("a module's metrics carry its name, and values that it has not declared are one series", async () => {
  const metrics = createMetrics({ ...labels, appName: 'my-shop' })
  const own = metrics.ofModule('short-links')
  const clicks = own.counter({ name: 'clicks_total', help: 'x', labels: { via: ['web', 'qr'] } })
  clicks.inc({ via: 'qr' })
  clicks.add(3, { via: 'web' })
  for (let i = 0; i < 5000; i++) clicks.inc({ via: `made up ${i}` })
  own.gauge({ name: 'domains', help: 'x' }).set(7)
  own.histogram({ name: 'resize_seconds', help: 'x', buckets: [0.1, 1] }).observe(0.5)
  const text = await metrics.text()
  expect(text).toMatch(/^my_shop_short_links_clicks_total\{via="qr",.*\} 1$/m)
  expect(text).toMatch(/^my_shop_short_links_clicks_total\{via="web",.*\} 3$/m)
  expect(text).toMatch(/^my_shop_short_links_clicks_total\{via="other",.*\} 5000$/m)
  expect(text.match(/^my_shop_short_links_clicks_total\{/gm)).toHaveLength(3)
  expect(text).toMatch(/^my_shop_short_links_domains\{.*\} 7$/m)
  expect(text).toMatch(/^my_shop_short_links_resize_seconds_bucket\{le="1",.*\} 1$/m)
})

test.each<[string, (metrics: Metrics) => void, string]>([
  ['a name twice', (m) => [1, 2].map(() => m.ofModule('links').gauge({ name: 'open', help: 'x' })), 'declared twice'],
  ["one of the kit's", (m) => m.ofModule('log').counter({ name: 'lines_lost_total', help: 'x' }), 'declared twice'],
  [
    "one that is a part of a histogram's",
    (m) => {
      m.ofModule('links').histogram({ name: 'ms', help: 'x', buckets: [1] })
      m.ofModule('links').gauge({ name: 'ms_count', help: 'x' })
    },
    'links_ms_count is declared twice',
  ],
  ['a malformed name', (m) => m.ofModule('links').gauge({ name: 'Open-Links', help: 'x' }), 'lower-case'],
  ['a long name', (m) => m.ofModule('links').gauge({ name: 'x'.repeat(100), help: 'x' }), 'more than 100'],
  [
    'a counter that does not look like one',
    (m) => m.ofModule('links').counter({ name: 'clicks', help: 'x' }),
    '_total',
  ],
  [
    'a label of the process',
    (m) => m.ofModule('links').gauge({ name: 'open', help: 'x', labels: { replica: ['a'] } }),
    'cannot have the label replica',
  ],
  [
    'more than 1,000 series',
    (m) => {
      const values = Array.from({ length: 40 }, (_, i) => String(i))
      m.ofModule('links').gauge({ name: 'open', help: 'x', labels: { one: values, other: values } })
    },
    'could have 1681 time series',
  ],
  [
    'buckets in no order',
    (m) => m.ofModule('links').histogram({ name: 'ms', help: 'x', buckets: [2, 1] }),
    'ascending',
  ],
])('a module that declares %s is refused', (_, declare, why) => {
  expect(() => declare(createMetrics(labels))).toThrow(
    expect.objectContaining({ code: 'E_MODULE', message: expect.stringContaining(why) }),
  )
})
