export interface Summary {
  median: number
  least: number
  most: number
  /** How many values it is made of. */
  count: number
}

/** Summarizes values; `undefined` when there are none. */
export function summarize(values: number[]): Summary | undefined {
  const sorted = values.toSorted((a, b) => a - b)
  const [least] = sorted
  const most = sorted.at(-1)
  if (least === undefined || most === undefined) return undefined
  const middle = sorted.length >> 1
  const [low = least, high = least] = [sorted[middle - 1], sorted[middle]]
  return { median: sorted.length % 2 ? high : (low + high) / 2, least, most, count: sorted.length }
}

/**
 * Divides what was measured in the same round. A round in which either side is not above zero was not measured, and counts for
 * nothing: a ratio is never negative, infinite or zero.
 */
export function ratios(above: number[], below: number[]): number[] {
  return above.flatMap((value, round) => {
    const base = below[round] ?? 0
    return value > 0 && base > 0 ? [value / base] : []
  })
}
