import type { Mutant } from '../mutant.ts'

const file = 'packages/kit/src/cache/tiered.ts'

export const mutants: Mutant[] = [
  {
    removed: 'stale-while-revalidate',
    file,
    from: 'if (found.text !== undefined && !tier.isOlder(key, found.version)) {',
    to: 'if (found.text !== undefined && found.freshForMs > 0 && !tier.isOlder(key, found.version)) {',
  },
  {
    removed: 'the jitter of freshness',
    file: 'packages/kit/src/cache/loader.ts',
    from: 'wanted * (1 - Math.random() / 10)',
    to: 'wanted',
  },
  {
    removed: 'the fill lock',
    file,
    from: '      if (found.lock.mine) return fill(key, reading, flight, token)\n',
    to: '      return fill(key, reading, flight, token)\n',
  },
]
