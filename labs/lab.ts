import { type Cluster, type ClusterOptions, startCluster } from '@escala/testing/cluster'

/** One problem: the same scenario on the naive half and on the fixed half. */
export interface Lab<Size = unknown> {
  /** Also the name of the folder, of the page and of the command. */
  slug: string
  /** Whether it needs the sample: `npm run sample:delete` removes it with its page. */
  sample?: boolean
  /** One line, for people who look for their symptom. */
  problem: string
  /** `full` for `npm run lab`, `test` for `npm test`: what is smaller there, and nothing else. */
  sizes: { full: Size; test: Size }
  halves: { problem: Half<Size>; fix: Half<Size> }
  /** Which numbers of replicas it makes sense with; 2 to 12 unless it says otherwise. */
  replicas?: { min: number; max: number }
  /** Why this lab cannot run in containers, if it cannot. */
  localOnly?: string
}

export interface Half<Size> {
  /** `with in-memory sessions on 3 replicas, a logged-in user is logged out`; a function where the number may differ. */
  title: string | ((replicas: number) => string)
  run(context: LabContext<Size>): Promise<Check[]>
}

export interface LabContext<Size> {
  size: Size
  replicas: number
  /** Starts a cluster, of `replicas` replicas unless it says otherwise; it is stopped after the half. */
  cluster(options?: ClusterOptions): Promise<Cluster>
  progress(done: number, total: number): void
  /** Something to be read beside the checks: `npm run lab` shows it. */
  print(text: string): void
}

/** Something that a client saw, and what it was expected to be. */
export interface Check {
  name: string
  value: number | string | boolean
  expected: string
  ok: boolean
}

type Expectation =
  | { atLeast: number }
  | { atMost: number }
  | { between: [number, number] }
  | { equals: number | string | boolean }

export type HalfName = keyof Lab['halves']
export const halfNames: HalfName[] = ['problem', 'fix']

export function defineLab<Size>(lab: Lab<Size>): Lab<Size> {
  return lab
}

/** `check('reads answered 401', unauthorized, { atLeast: 10 })` */
export function check(name: string, value: Check['value'], expectation: Expectation): Check {
  const [expected, ok] = judge(value, expectation)
  return { name, value: typeof value === 'number' ? Math.round(value * 100) / 100 : value, expected, ok }
}

function judge(value: Check['value'], expectation: Expectation): [string, boolean] {
  const number = Number(value)
  if ('atLeast' in expectation) return [`at least ${expectation.atLeast}`, number >= expectation.atLeast]
  if ('atMost' in expectation) return [`at most ${expectation.atMost}`, number <= expectation.atMost]
  if ('equals' in expectation) return [`${expectation.equals}`, value === expectation.equals]
  const [low, high] = expectation.between
  return [`${low} to ${high}`, number >= low && number <= high]
}

/** Returns why a lab cannot run with so many replicas, or `undefined` if it can. */
export function refuses({ slug, replicas: takes = { min: 2, max: 12 } }: Pick<Lab, 'slug' | 'replicas'>, wish: string) {
  const number = /^\d{1,3}$/.test(wish) ? Number(wish) : Number.NaN
  if (number >= takes.min && number <= takes.max) return undefined
  const numbers = takes.min === takes.max ? `${takes.min}` : `${takes.min} to ${takes.max}`
  return `the lab ${slug} takes ${numbers} replicas, not ${wish}`
}

export function titleOf(half: Pick<Half<never>, 'title'>, replicas: number): string {
  return typeof half.title === 'string' ? half.title : half.title(replicas)
}

export interface RunOptions {
  size: keyof Lab['sizes']
  replicas: number
  progress?(done: number, total: number): void
  print?(text: string): void
  /** Once aborted, no further cluster is started. */
  signal?: AbortSignal
  /** The end of every process's log, when a check fails or the half throws. */
  onFailure(logs: string): void
}

/** Runs one half and stops whatever it started. Rejects when it cannot be run to its end. */
export async function runHalf<Size>(lab: Lab<Size>, name: HalfName, options: RunOptions): Promise<Check[]> {
  const { replicas, progress = () => undefined, print = () => undefined, onFailure } = options
  const clusters: Cluster[] = []
  const logs = () => clusters.map((cluster) => cluster.logs()).join('\n')
  try {
    const checks = await lab.halves[name].run({
      size: lab.sizes[options.size],
      replicas,
      async cluster(wish) {
        options.signal?.throwIfAborted()
        const cluster = await startCluster({ replicas, ...wish })
        clusters.push(cluster)
        return cluster
      },
      progress,
      print,
    })
    if (checks.some(({ ok }) => !ok)) onFailure(logs())
    return checks
  } catch (error) {
    onFailure(logs())
    throw error
  } finally {
    await Promise.all(clusters.map((cluster) => cluster.stop()))
  }
}
