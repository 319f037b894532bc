/** Of `candidates`, the one with the fewest letters to change, add or take away. */
export function nearest(word: string, candidates: string[]): string | undefined {
  return candidates.toSorted((a, b) => distance(word, a) - distance(word, b))[0]
}

// Levenshtein's: row by row, each cell from its three neighbours.
function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, index) => index)
  for (let i = 1; i <= a.length; i++) {
    const next = [i]
    for (let j = 1; j <= b.length; j++) {
      const change = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1)
      next.push(Math.min((next[j - 1] ?? 0) + 1, (row[j] ?? 0) + 1, change))
    }
    row = next
  }
  return row[b.length] ?? 0
}
