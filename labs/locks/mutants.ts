import type { Mutant } from '../mutant.ts'

const lease = 'packages/kit/src/locks/lease.ts'
const redis = 'packages/kit/src/locks/redis.ts'

export const mutants: Mutant[] = [
  {
    removed: 'the abort signal',
    file: lease,
    // biome-ignore lint/suspicious/noTemplateCurlyInString: code of another file
    from: '    lost.abort(new Error(`lost the lock ${name}: ${reason}`))\n',
    to: '',
  },
  {
    removed: 'the comparison of tokens when a lock is given back',
    file: redis,
    from: "const give = createScript(`\nif redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end\n",
    to: 'const give = createScript(`\n',
  },
  {
    removed: 'the comparison of tokens when a lock is taken',
    file: redis,
    from: 'if holder and holder ~= ARGV[1] then return nil end\n',
    to: '',
  },
  {
    removed: 'the fence',
    file: redis,
    from: "string.format('%.0f', math.max(last + 1, time[1] * 1000000 + time[2], ARGV[3] + 1))",
    to: "'1'",
  },
  {
    removed: 'the renewal',
    file: lease,
    from: '  watchExpiry()\n  renewal = setTimeout(renew, leaseMs / 3)\n',
    to: '  watchExpiry()\n',
  },
]
