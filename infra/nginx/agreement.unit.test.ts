import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { streamLimits } from '@escala/kit/events/sse'
import { maxHeadBytes } from '@escala/kit/lifecycle/bounded-response'
import { httpLimits } from '@escala/kit/lifecycle/http-server'
import { lastLinesMs } from '@escala/kit/lifecycle/process'
import { renderNginx } from '@escala/servers/nginx-config'
import { describe, expect, it } from 'vitest'
import { apiStopMs } from '../../apps/api/src/compose.ts'
import { apiSettings } from '../../apps/api/src/config.ts'
import { workerStopMs } from '../../apps/worker/src/compose.ts'

// The same numbers stand in NGINX's configuration, in the API's, in PM2's and in compose's; here they are compared.
const read = (path: string) => readFileSync(new URL(`../../${path}`, import.meta.url), 'utf8')
const nginx = renderNginx({ listen: '8080', upstream: { kind: 'names', name: 'api', port: 3000 } })
const compose = read('docker-compose.yml')
const api = {
  deadlineMs: apiSettings.REQUEST_TIMEOUT_MS.parse(undefined),
  refuseMs: apiSettings.REFUSE_MS.parse(undefined),
  drainMs: apiSettings.DRAIN_DELAY_MS.parse(undefined) + apiSettings.DRAIN_DEADLINE_MS.parse(undefined),
}
const sum = (steps: Record<string, number>) => Object.values(steps).reduce((total, ms) => total + ms)
// What the two `stop` wait for beyond the drain, at most.
const closingMs = { api: sum(apiStopMs) + lastLinesMs, worker: sum(workerStopMs) + lastLinesMs }
const marginMs = 3000 // for a machine that is busy, and for the supervisor

/** The first place of a directive, in milliseconds. */
function time(text: string, directive: RegExp): number {
  const [, number, unit] = new RegExp(`${directive.source}(\\d+)(ms|s|m|h)`).exec(text) ?? []
  expect(number, `${directive.source} is there`).toBeDefined()
  return Number(number) * { ms: 1, s: 1000, m: 60_000, h: 3_600_000 }[unit as 'ms']
}

describe('NGINX and the API agree', () => {
  it('their errors lead to one page, in Compose too', () => {
    const page = apiSettings.PROBLEM_BASE_URL.parse(undefined)
    expect(compose).toContain(`PROBLEM_BASE_URL: \${PROBLEM_BASE_URL:-${page}}`)
    expect(nginx).toContain(`default "${page}";`)
  })

  it('NGINX closes an idle connection first', () => {
    expect(time(nginx, /keepalive_timeout /)).toBeLessThanOrEqual(httpLimits.keepAliveMs - 5000)
  })

  it('the API gives a request up first', () => {
    expect(time(nginx, /proxy_read_timeout /)).toBeGreaterThanOrEqual(api.deadlineMs + 1000)
  })

  it('a stream is never silent for as long as NGINX waits', () => {
    expect(time(nginx, /proxy_read_timeout /)).toBeGreaterThanOrEqual(streamLimits.heartbeatMs + 4000)
  })

  it('a slow client is given up by NGINX first', () => {
    expect(time(nginx, /client_header_timeout /)).toBeLessThan(httpLimits.requestMs)
    expect(time(nginx, /client_body_timeout /)).toBeLessThan(httpLimits.requestMs)
  })

  it('NGINX refuses a large head first', () => {
    const [, count, kilobytes] = /large_client_header_buffers (\d+) (\d+)k;/.exec(nginx) ?? []
    // One more for what NGINX adds.
    expect((Number(count) + 1) * Number(kilobytes) * 1024).toBeLessThanOrEqual(httpLimits.headBytes)
  })

  it('the largest head of a response fits into what NGINX reads it into', () => {
    const [, kilobytes] = /proxy_buffer_size (\d+)k;/.exec(nginx) ?? []
    expect(Number(kilobytes) * 1024).toBeGreaterThanOrEqual(2 * maxHeadBytes)
  })

  it('a replica that refuses is left alone until it has gone', () => {
    expect(time(nginx, /fail_timeout=/)).toBeGreaterThan(api.refuseMs)
  })
})

it('NGINX has files for all of its connections, and compose lets it have them', () => {
  const number = (text: string, directive: RegExp) => Number(directive.exec(text)?.[1])
  const files = number(nginx, /worker_rlimit_nofile (\d+);/)
  expect(files).toBeGreaterThan(2 * number(nginx, /worker_connections (\d+);/))
  expect(number(compose, /nofile: .*?(\d+)/)).toBeGreaterThan(files)
})

describe('compose gives NGINX', () => {
  it('a value for each placeholder', () => {
    const placeholders = [...read('infra/nginx/escala.conf.template').matchAll(/\$\{([A-Z_]+)\}/g)].map(
      (match) => match[1],
    )
    const [, replaced = ''] = /envsubst '([^']*)'/.exec(compose) ?? []
    expect(replaced.split(' ').sort()).toEqual([...new Set(placeholders)].map((name) => `$$${name}`).sort())
    for (const name of placeholders) expect(compose).toMatch(new RegExp(`^      ${name}: `, 'm'))
  })

  it('memory for all of its connections, as streams, and for its temporary files', () => {
    const megabytes = (text: RegExp) => Number(text.exec(compose)?.[1])
    const workers = megabytes(/NGINX_WORKERS:-(\d+)/)
    const connections = Number(/worker_connections (\d+);/.exec(nginx)?.[1])
    const measured = workers * 7 + (workers * connections * 18) / 2 / 1024
    const uploads = megabytes(/tmp_body:\S*size=(\d+)m/)
    expect(megabytes(/NGINX_MEMORY:-(\d+)m/)).toBeGreaterThan(
      measured + uploads + megabytes(/tmp_proxy:\S*size=(\d+)m/),
    )
    const atOnce = Number(/limit_conn uploads (\d+);/.exec(nginx)?.[1])
    expect(uploads).toBeGreaterThanOrEqual(2 * 2 * atOnce) // one client does not use up what belongs to all
  })
})

describe('what stops a process waits for its drain', () => {
  it('PM2 does', () => {
    const { apps } = createRequire(import.meta.url)('../pm2/ecosystem.config.cjs')
    for (const app of apps)
      expect(app.kill_timeout).toBeGreaterThanOrEqual(api.drainMs + closingMs[app.name as 'api' | 'worker'] + marginMs)
  })

  it('the page on the architecture says how long that is', () => {
    const page = read('docs/architecture.md').replace(/\s+/g, ' ')
    expect(page).toContain(`and at most ${Math.ceil(closingMs.api / 1000)} seconds more`)
    expect(page).toContain(
      `It is gone at most ${Math.ceil(closingMs.worker / 1000)} seconds after \`DRAIN_DEADLINE_MS\``,
    )
  })

  it('PM2 does with a longer drain', () => {
    const config = "JSON.stringify(require('./infra/pm2/ecosystem.config.cjs').apps.map((app) => app.kill_timeout))"
    const env = { ...process.env, DRAIN_DEADLINE_MS: '60000', DRAIN_DELAY_MS: '5000' }
    const printed = execFileSync(process.execPath, ['-p', config], { env, cwd: new URL('../..', import.meta.url) })
    for (const ms of JSON.parse(printed.toString()))
      expect(ms).toBeGreaterThanOrEqual(65_000 + Math.max(closingMs.api, closingMs.worker) + marginMs)
  })

  it('compose does', () => {
    const application = compose.slice(compose.indexOf('x-app:'), compose.indexOf('x-app-environment:'))
    expect(time(application, /stop_grace_period: /)).toBeGreaterThanOrEqual(
      api.drainMs + Math.max(closingMs.api, closingMs.worker) + marginMs,
    )
  })

  it('but an NGINX that stops does not wait for its live streams: until it is back, no client can connect', () => {
    const proxy = compose.slice(compose.indexOf('  nginx:'), compose.indexOf('  api:'))
    expect(time(proxy, /stop_grace_period: /)).toBe(5000)
  })
})

it('compose gives NGINX the list of replicas that is tested here', () => {
  const [, servers] = /^ +API_SERVERS: (.*)$/m.exec(compose) ?? []
  expect(nginx).toContain(servers)
})

it('compose brings NGINX every file that is included', () => {
  const files = [nginx, read('infra/nginx/problem.conf'), read('infra/nginx/own-errors.conf')].join('\n')
  const included = new Set([...files.matchAll(/include \S*\/([\w.-]+);/g)].map((match) => match[1]))
  expect(included.size).toBeGreaterThan(3)
  for (const file of included) expect(compose).toContain(`- ./infra/nginx/${file}:/etc/nginx/escala/${file}:ro`)
})
