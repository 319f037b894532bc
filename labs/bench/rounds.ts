import type { Actor } from './cast.ts'
import { cpuBetween, readCpu } from './cpu.ts'
import { type Load, load } from './load.ts'
import type { Cost } from './rows.ts'
import { ratios, summarize } from './summary.ts'

/** One thing that is measured in each round. */
export interface Variant {
  name: string
  actor: Actor
  paths: string[]
  body?: string
  connections: number
}

export interface Window extends Load {
  /** Microseconds of processor time for each response, by program. */
  cpu: Record<string, number>
}

export const perSecond = ({ responses, seconds }: Window) => responses / seconds
export const cpuSum = ({ cpu }: Window) => Object.values(cpu).reduce((a, b) => a + b, 0)

export interface Rounds<T> {
  names: string[]
  /** Values of one variant, a round each. */
  of(name: string, value: (seen: T) => number): number[]
  /** Returns the ratio of one variant to another within each round; empty if either was not measured. */
  ratios(above: string, below: string, value: (seen: T) => number): number[]
}

/** Measures each in turn, forwards and backwards: whatever else the machine does meets all of them. */
export async function inTurns<T>(
  names: string[],
  rounds: number,
  signal: AbortSignal,
  measure: (name: string) => Promise<T>,
): Promise<Rounds<T>> {
  const seen = new Map<string, T[]>(names.map((name) => [name, []]))
  for (let round = 0; round < rounds; round++) {
    for (const name of round % 2 ? names.toReversed() : names) {
      signal.throwIfAborted()
      seen.get(name)?.push(await measure(name))
    }
  }
  const of: Rounds<T>['of'] = (name, value) => (seen.get(name) ?? []).map(value)
  return { names, of, ratios: (above, below, value) => ratios(of(above, value), of(below, value)) }
}

export interface RoundOptions {
  rounds: number
  windowMs: number
  /** Responses of each variant before anything counts: a cold V8 is half as fast. */
  warmUp: number
  signal: AbortSignal
}

export async function measureRounds(variants: Variant[], options: RoundOptions): Promise<Rounds<Window>> {
  const { rounds, windowMs, warmUp, signal } = options
  await warm(variants, warmUp, signal)
  const byName = new Map(variants.map((variant) => [variant.name, variant]))
  return inTurns([...byName.keys()], rounds, signal, (name) => measureWindow(byName.get(name) as Variant, windowMs))
}

export async function warm(variants: Variant[], responses: number, signal: AbortSignal): Promise<void> {
  for (const variant of variants) {
    signal.throwIfAborted()
    await ask(variant, { responses })
  }
}

export function ask({ actor, paths, body, connections }: Variant, until: { responses: number } | { ms: number }) {
  return load({ url: actor.url, cookies: actor.cookies, paths, body, connections, until })
}

export async function measureWindow(variant: Variant, ms: number): Promise<Window> {
  const pids = Object.entries(variant.actor.pids)
  const before = pids.map(([, pid]) => readCpu(pid))
  const seen = await ask(variant, { ms })
  const cpu = pids.map(([name, pid], at) => {
    const used = cpuBetween(before[at] as (typeof before)[0], readCpu(pid))
    return [name, used / seen.responses] as const
  })
  return { ...seen, cpu: Object.fromEntries(cpu) }
}

/** What a request of each variant costs. */
export function costsOf({ names, of }: Rounds<Window>): Cost[] {
  const median = (name: string, value: (window: Window) => number) => summarize(of(name, value))?.median ?? 0
  return names.map((variant) => ({
    variant,
    parts: Object.fromEntries(
      ['node', 'nginx', 'redis', 'postgres'].map((part) => [part, median(variant, ({ cpu }) => cpu[part] ?? 0)]),
    ),
    sum: median(variant, cpuSum),
    perSecond: median(variant, perSecond),
  }))
}
