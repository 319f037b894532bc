import type { Mutant } from '../mutant.ts'

const limits = ['apps/api/src/limits.test.ts']

export const mutants: Mutant[] = [
  {
    removed: 'every request that the even pace admits',
    file: 'packages/kit/src/rate-limits/gcra.ts',
    from: 'if wait > 0.001 then return { -1, math.ceil(wait) } end',
    to: 'do return { -1, 1000 } end',
  },
  {
    removed: 'the limit of an address, whatever it sends',
    file: 'apps/api/src/limits.ts',
    from: ', address.middleware]',
    to: ']',
    tests: limits,
  },
  {
    removed: 'the rule that an ended session is counted by its address',
    file: 'apps/api/src/limits.ts',
    from: 'return key === general.countedBy(req) ? undefined : general.check(req, res, key)',
    to: 'return key === undefined ? general.check(req, res) : undefined',
    tests: limits,
  },
  {
    removed: 'the mark of visitors, and what finds them without it',
    file: 'apps/api/src/limits.ts',
    from: 'const isLoggedIn = sessionUser(req) !== undefined',
    to: 'const isLoggedIn = true',
    tests: limits,
  },
  {
    removed: 'the limit of log-ins and sign-ups of an address',
    file: 'packages/accounts/src/log-in-limits.ts',
    from: "policy = { name: 'log-in-address', limit: perAddress, windowMs: 60_000 }",
    to: "policy = { name: 'log-in-address', limit: 10 * perAddress, windowMs: 60_000 }",
    tests: limits,
  },
  {
    removed: 'the limit of failures of an account',
    file: 'packages/kit/src/rate-limits/log-in-guard.ts',
    from: 'if (waitMs > 0) throw',
    to: 'if (waitMs < 0) throw',
    tests: [...limits, 'packages/kit/src/rate-limits'],
  },
  {
    removed: 'what known devices and addresses have of their own',
    file: 'packages/kit/src/rate-limits/log-in-guard.ts',
    from: 'local key = known == 1 and KEYS[2] or KEYS[1]',
    to: 'local key = KEYS[1]',
    tests: [...limits, 'packages/kit/src/rate-limits'],
  },
  {
    removed: 'the tries of a known device',
    file: 'packages/accounts/src/log-in-limits.ts',
    // biome-ignore lint/suspicious/noTemplateCurlyInString: code of another file
    from: 'digest(`${device ?? from} ${account}`)',
    // biome-ignore lint/suspicious/noTemplateCurlyInString: code of another file
    to: 'digest(`${from} ${account}`)',
    tests: limits,
  },
  {
    removed: 'the end of hashes that are no longer awaited',
    file: 'packages/kit/src/passwords/queue.ts',
    from: "      signal?.addEventListener('abort', drop, { once: true })\n",
    to: '',
    tests: ['packages/kit/src/passwords'],
  },
  {
    removed: 'the word of the request that its client is gone',
    file: 'packages/accounts/src/routes/users.ts',
    from: 'await passwords.hash(password, signal, client)',
    to: 'await passwords.hash(password, signal && undefined, client)',
    tests: limits,
  },
  {
    removed: 'the bound on hashes that wait',
    file: 'packages/kit/src/passwords/queue.ts',
    from: 'if (!line.add(entry, maxWaiting())) return refuse()',
    to: 'if (!line.add(entry, 10 * maxWaiting())) return refuse()',
    tests: ['packages/kit/src/passwords'],
  },
  {
    removed: 'the question whether every replica verifies argon2id',
    file: 'packages/kit/src/passwords/roll-out.ts',
    from: 'mayWriteArgon2id: () => isWanted && allowed,',
    to: 'mayWriteArgon2id: () => isWanted,',
    tests: limits,
  },
]
