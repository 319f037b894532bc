import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { findPrometheus } from '@escala/servers/binaries'
import { freePort, run, startProcess } from '@escala/servers/processes'
import { createClient } from '@escala/testing/client'
import { type Cluster, startCluster } from '@escala/testing/cluster'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'

const folder = fileURLToPath(new URL('.', import.meta.url))
const read = (name: string) => readFile(join(folder, name), 'utf8')
const prometheus = await findPrometheus(process.env.PROMETHEUS === 'download')
let cluster: Cluster
let expressions: string[]

beforeAll(async () => {
  cluster = await startCluster({ replicas: 3, workers: 1 })
  const { panels } = JSON.parse(await read('grafana/escala.json')) as { panels: { targets: { expr: string }[] }[] }
  const alerts = [...(await read('alerts.yml')).matchAll(/^ +expr: (.*)$/gm)].map((match) => match[1] ?? '')
  expressions = [...panels.flatMap(({ targets }) => targets.map(({ expr }) => expr)), ...alerts]
})
afterAll(() => cluster?.stop())

it('dashboard and alerts name nothing that API and worker do not export', async () => {
  await createClient(cluster.url).get('/v1/session')
  const told = new Set<string>()
  for (const { internalUrl } of [...cluster.replicas, ...cluster.workers]) {
    const text = await fetch(`${internalUrl}/metrics`).then((answer) => answer.text())
    for (const [, name = ''] of text.matchAll(/^([a-z_]+)(?:\{| )/gm)) told.add(name)
  }
  const named = expressions.flatMap((expression) => expression.match(/\b(escala|http|process|nodejs)_\w+/g) ?? [])
  expect(named.length).toBeGreaterThan(20)
  // A breaker is created with the first call of its peer, which has not happened here.
  expect([...new Set(named)].filter((name) => !told.has(name) && !name.startsWith('escala_breaker_'))).toEqual([])
})

describe.skipIf(prometheus === undefined)('a real Prometheus', () => {
  const { path, env } = prometheus ?? { path: '', env: {} }
  let url: string
  let dir: string
  let server: ReturnType<typeof startProcess>

  const ask = async (path: string) => {
    const answer = await fetch(`${url}/api/v1/${path}`, { signal: AbortSignal.timeout(5000) })
    const { status, data } = (await answer.json()) as { status: string; data: Record<string, never> }
    expect(status).toBe('success')
    return data as Record<string, unknown[]>
  }
  const valueOfQuery = async (expression: string) => {
    const { result = [] } = await ask(`query?query=${encodeURIComponent(expression)}`)
    return Number((result[0] as { value: [number, string] } | undefined)?.value[1])
  }

  beforeAll(async () => {
    dir = await mkdtemp(join(tmpdir(), 'escala-prometheus-'))
    // The shipped configuration, with this cluster's addresses and a shorter interval.
    const targets = (of: { internalUrl: string }[]) =>
      `targets: [${of.map(({ internalUrl }) => `'${new URL(internalUrl).host}'`).join(', ')}]`
    const config = (await read('prometheus.local.yml'))
      .replace(/targets: .*4000.*/, targets(cluster.replicas))
      .replace(/targets: .*4100.*/, targets(cluster.workers))
      .replace(/scrape_interval: .*/, 'scrape_interval: 500ms')
      .replace(/scrape_timeout: .*/, 'scrape_timeout: 500ms')
    await writeFile(join(dir, 'prometheus.yml'), config)
    await writeFile(join(dir, 'alerts.yml'), await read('alerts.yml'))
    await mkdir(join(dir, 'data'))
    const port = await freePort()
    url = `http://127.0.0.1:${port}`
    server = startProcess({
      name: 'Prometheus',
      command: path,
      args: [
        `--config.file=${dir}/prometheus.yml`,
        `--storage.tsdb.path=${dir}/data`,
        `--web.listen-address=127.0.0.1:${port}`,
      ],
      cwd: dir,
      logFile: join(dir, 'log'),
      env: { ...process.env, ...env },
      signals: ['SIGTERM'],
      graceMs: 5000,
    })
    await vi.waitFor(async () => expect(await valueOfQuery('sum(up)')).toBe(4), { timeout: 20_000, interval: 200 })
  })
  afterAll(async () => {
    await server?.stop()
    await rm(dir, { recursive: true, force: true })
  })

  it('takes both configurations and the rules', async () => {
    for (const [command, file] of [
      ['config', 'prometheus.yml'],
      ['config', 'prometheus.local.yml'],
      ['rules', 'alerts.yml'],
    ] as const) {
      const { code, output } = await run(join(dirname(path), 'promtool'), ['check', command, join(folder, file)], {
        env,
      })
      expect(code, output).toBe(0)
    }
  })

  it('sums the replicas up to what was sent', async () => {
    const client = createClient(cluster.url)
    for (let sent = 0; sent < 90; sent++) expect((await client.get('/v1/openapi.json')).status).toBe(200)
    const ours = 'http_requests_total{route="/v1/openapi.json"}'
    await vi.waitFor(async () => expect(await valueOfQuery(`sum(${ours})`)).toBe(90), {
      timeout: 10_000,
      interval: 200,
    })
    expect(await valueOfQuery(`count(${ours} > 0)`)).toBe(3)
  })

  it('evaluates every expression of the dashboard and every alert', async () => {
    for (const expression of expressions) await ask(`query?query=${encodeURIComponent(expression)}`)
    const rules = async () => {
      const { groups = [] } = await ask('rules')
      return (groups as { rules: { health: string; state: string }[] }[]).flatMap((group) => group.rules)
    }
    expect((await rules()).filter(({ health }) => health === 'err')).toEqual([])
    expect((await rules()).length).toBeGreaterThan(5)
    expect((await rules()).filter(({ state }) => state === 'firing')).toEqual([])
  })
})
