import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client'
import { bootErrors } from '../errors/errors.ts'
import { lostLogLines } from '../log/log.ts'
import { createModuleMetrics, type ModuleMetrics } from './module-metrics.ts'

export interface RequestSeen {
  method: string
  /** The pattern (`/v1/things/:id`), never the path: a path is one time series for each id. */
  route: string
  status: number
  ms: number
  /** What there was too much of, if the request was refused for that. */
  overloaded?: string
}

export interface Metrics {
  request(seen: RequestSeen): void
  /** Read at each scrape; `undefined` leaves it out, which an alert can distinguish from 0. */
  gauge(name: string, help: string, read: () => number | undefined | Promise<number | undefined>): void
  /** The same with one label: a value for each of its values. */
  gauges(
    name: string,
    help: string,
    label: string,
    read: () => Record<string, number> | undefined | Promise<Record<string, number> | undefined>,
  ): void
  /** What was counted elsewhere and only grows, since the process began. */
  counter(name: string, help: string, read: () => number): void
  counters(name: string, help: string, label: string, read: () => Record<string, number>): void
  /** Metrics of a module's own, whose names begin with the application's and the module's. */
  ofModule(module: string): ModuleMetrics
  /** Prometheus's text format, version 0.0.4. */
  text(): Promise<string>
}

export interface MetricsOptions {
  /** Replaces the `escala` with which names begin. */
  appName?: string
  service: string
  replica: string
  version: string
}

/** What there can be too much of, by the `reason` of each `E_OVERLOADED`. */
const shedReasons = [
  'requests in flight',
  'event loop delay',
  'streams',
  'files',
  'bodies',
  'cache loads',
  'password hashes',
]

/**
 * What one process counts, for its own internal port: through a balancer, or through PM2's one port, each answer would come from
 * another process. Sums and rates over replicas are Prometheus's work.
 */
export function createMetrics({ appName = 'escala', ...labels }: MetricsOptions): Metrics {
  const prefix = appName.replaceAll('-', '_')
  const taken = new Set<string>()
  const claim = (name: string, suffixes: string[] = []) => {
    const exported = [name, ...suffixes.map((suffix) => `${name}${suffix}`)]
    const twice = exported.find((one) => taken.has(one))
    if (twice !== undefined) throw bootErrors.E_MODULE({ detail: `the metric ${twice} is declared twice` })
    for (const one of exported) taken.add(one)
    return name
  }
  const named = (name: string) => claim(name.replace(/^escala_/, `${prefix}_`))
  const registry = new Registry()
  registry.setDefaultLabels(labels)
  collectDefaultMetrics({ register: registry, eventLoopMonitoringPrecision: 100 }) // each look wakes an idle process
  new Counter({
    name: named('escala_log_lines_lost_total'),
    help: 'Log lines that could not be written to standard output.',
    registers: [registry],
    collect() {
      this.reset()
      this.inc(lostLogLines())
    },
  })
  const names = ['method', 'route', 'status'] as const
  const requests = new Counter({
    name: 'http_requests_total',
    help: 'Requests that were answered or cut off.',
    labelNames: names,
    registers: [registry],
  })
  const seconds = new Histogram({
    name: 'http_request_duration_seconds',
    help: 'From the first byte of the request to the last of the answer.',
    labelNames: names,
    buckets: [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10],
    registers: [registry],
  })
  const shed = new Counter({
    name: named('escala_shed_requests_total'),
    help: 'Refused because of too much work, by what there was too much of.',
    labelNames: ['reason'],
    registers: [registry],
  })
  for (const reason of shedReasons) shed.inc({ reason }, 0) // a series that begins with 1 has no rate at first
  return {
    request({ method, route, status, ms, overloaded }) {
      if (overloaded !== undefined) shed.inc({ reason: overloaded })
      requests.inc({ method, route, status })
      seconds.observe({ method, route, status }, ms / 1000)
    },
    gauge(name, help, read) {
      new Gauge({
        name: named(name),
        help,
        registers: [registry],
        async collect() {
          const value = await settled(read)
          if (value === undefined) this.remove()
          else this.set(value)
        },
      })
    },
    gauges(name, help, label, read) {
      new Gauge({
        name: named(name),
        help,
        labelNames: [label],
        registers: [registry],
        async collect() {
          this.reset()
          for (const [value, count] of Object.entries((await settled(read)) ?? {})) this.set({ [label]: value }, count)
        },
      })
    },
    counter(name, help, read) {
      new Counter({
        name: named(name),
        help,
        registers: [registry],
        collect() {
          this.reset()
          this.inc(read())
        },
      })
    },
    counters(name, help, label, read) {
      new Counter({
        name: named(name),
        help,
        labelNames: [label],
        registers: [registry],
        collect() {
          this.reset()
          for (const [value, count] of Object.entries(read())) this.inc({ [label]: value }, count)
        },
      })
    },
    ofModule: (module) => createModuleMetrics(registry, `${prefix}_${module.replaceAll('-', '_')}`, claim),
    text: () => registry.metrics(),
  }
}

/** A source that cannot be asked must not hide the others. */
async function settled<T>(read: () => T | Promise<T>): Promise<T | undefined> {
  try {
    return await read()
  } catch {
    return undefined
  }
}
