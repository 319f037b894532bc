export interface Usl {
  /** Contention: the share of the work that cannot run side by side. */
  sigma: number
  /** Coherence: what each pair of replicas costs. Above 0 there is a number of replicas beyond which more are slower. */
  kappa: number
}

/**
 * Fits Gunther's Universal Scalability Law, X(N) = N·X(1) / (1 + σ(N−1) + κN(N−1)), by least squares on its linear form
 * (N·X(1)/X(N) − 1) / (N−1) = σ + κN. Needs N = 1 and two more points.
 */
export function fitUsl(points: { replicas: number; perSecond: number }[]): Usl {
  const one = points.find(({ replicas }) => replicas === 1)?.perSecond ?? Number.NaN
  const rest = points
    .filter(({ replicas }) => replicas > 1)
    .map(({ replicas: n, perSecond }) => ({ n, y: ((n * one) / perSecond - 1) / (n - 1) }))
  const mean = (values: number[]) => values.reduce((sum, value) => sum + value, 0) / values.length
  const [meanN, meanY] = [mean(rest.map(({ n }) => n)), mean(rest.map(({ y }) => y))]
  const slope =
    rest.reduce((sum, { n, y }) => sum + (n - meanN) * (y - meanY), 0) /
    rest.reduce((sum, { n }) => sum + (n - meanN) ** 2, 0)
  return { sigma: meanY - slope * meanN, kappa: slope }
}
