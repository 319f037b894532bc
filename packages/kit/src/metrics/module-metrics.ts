import { Counter, Gauge, Histogram, type Registry } from 'prom-client'
import { bootErrors } from '../errors/errors.ts'

/** Label → every value that it can have. Another value is counted as `other`, so that no client can create time series. */
export type Labels = Record<string, readonly string[]>

/** `links`' counter `clicks_total` is exported as `escala_links_clicks_total`. */
export interface MetricOptions<L extends Labels> {
  /** Lower case, with underscores, and with its unit: `clicks_total`, `resize_seconds`. */
  name: string
  help: string
  labels?: L
}

type NoLabels = Record<never, never>
type ValuesOf<L extends Labels> = { [Label in keyof L]: L[Label][number] | (string & {}) }
/** Labels are an argument only where there are some. */
type LabelArguments<L extends Labels> = keyof L extends never ? [] : [labels: ValuesOf<L>]

/**
 * A module's own metrics, which this process exports beside the kit's. Declare them where the module's routes or jobs are made:
 * each throws `E_MODULE` when its name is taken or malformed, or when it could have more than 1,000 time series.
 */
export interface ModuleMetrics {
  /** Its name ends in `_total`. */
  counter<const L extends Labels = NoLabels>(options: MetricOptions<L>): ModuleCounter<L>
  gauge<const L extends Labels = NoLabels>(options: MetricOptions<L>): ModuleGauge<L>
  histogram<const L extends Labels = NoLabels>(options: HistogramOptions<L>): ModuleHistogram<L>
}

export interface ModuleCounter<L extends Labels = NoLabels> {
  inc(...labels: LabelArguments<L>): void
  add(by: number, ...labels: LabelArguments<L>): void
}

export interface ModuleGauge<L extends Labels = NoLabels> {
  set(value: number, ...labels: LabelArguments<L>): void
}

export interface HistogramOptions<L extends Labels> extends MetricOptions<L> {
  /** Upper bounds, ascending; at most 30. */
  buckets: number[]
}

export interface ModuleHistogram<L extends Labels = NoLabels> {
  observe(value: number, ...labels: LabelArguments<L>): void
}

const maxSeries = 1000
const maxBuckets = 30
const maxNameLength = 100
const wellFormed = /^[a-z][a-z0-9]*(_[a-z0-9]+)*$/
const otherValue = 'other'

/** Refuses a name that is taken, with everything that is exported under it. */
export type ClaimName = (name: string, suffixes: string[]) => void

/** Names begin with `prefix`, which is the application's and the module's. */
export function createModuleMetrics(registry: Registry, prefix: string, claim: ClaimName): ModuleMetrics {
  const declare = ({ name, help, labels = {} }: MetricOptions<Labels>, suffixes: string[] = [], mistake?: string) => {
    const full = `${prefix}_${name}`
    const wrong = mistake ?? mistakeIn(full, name, labels)
    if (wrong) throw bootErrors.E_MODULE({ detail: `the metric ${full} ${wrong}` })
    claim(full, suffixes)
    const toValues = (given: Values = {}) => bounded(labels, given)
    return { toValues, declared: { name: full, help, labelNames: Object.keys(labels), registers: [registry] } }
  }
  const metrics = {
    counter(options: MetricOptions<Labels>) {
      const mistake = options.name.endsWith('_total') ? undefined : 'is a counter: its name ends in _total'
      const { declared, toValues } = declare(options, [], mistake)
      const counter = new Counter(declared)
      const add = (by: number, labels?: Values) => counter.inc(toValues(labels), by)
      return { inc: (labels?: Values) => add(1, labels), add }
    },
    gauge(options: MetricOptions<Labels>) {
      const { declared, toValues } = declare(options)
      const gauge = new Gauge(declared)
      return { set: (value: number, labels?: Values) => gauge.set(toValues(labels), value) }
    },
    histogram({ buckets, ...options }: HistogramOptions<Labels>) {
      const isAscending = buckets.every((bound, at) => at === 0 || bound > (buckets[at - 1] as number))
      const isFine = isAscending && buckets.length <= maxBuckets && buckets.every(Number.isFinite)
      const mistake = isFine ? undefined : `needs at most ${maxBuckets} buckets in ascending order`
      const { declared, toValues } = declare(options, ['_bucket', '_sum', '_count'], mistake)
      const histogram = new Histogram({ ...declared, buckets })
      return { observe: (value: number, labels?: Values) => histogram.observe(toValues(labels), value) }
    },
  }
  return metrics as ModuleMetrics
}

function mistakeIn(full: string, name: string, labels: Labels): string | undefined {
  if (!wellFormed.test(name)) return 'needs a name of lower-case words joined by single underscores'
  if (full.length > maxNameLength) return `has a name of more than ${maxNameLength} characters`
  const label = Object.keys(labels).find((label) => !wellFormed.test(label) || reserved.includes(label))
  if (label !== undefined) return `cannot have the label ${label}`
  const series = Object.values(labels).reduce((product, values) => product * (values.length + 1), 1)
  return series > maxSeries ? `could have ${series} time series: at most ${maxSeries}` : undefined
}

type Values = Record<string, string>

/** Set by the registry for every metric, or by a histogram. */
const reserved = ['service', 'replica', 'version', 'le']

function bounded(labels: Labels, given: Values): Values {
  const values: Values = {}
  for (const [label, known] of Object.entries(labels)) {
    const value = given[label]
    values[label] = value !== undefined && known.includes(value) ? value : otherValue
  }
  return values
}
