import type { Mutant } from '../mutant.ts'

const file = 'packages/kit/src/events/sse.ts'
const tests = ['packages/kit/src/events/sse.unit.test.ts']

export const mutants: Mutant[] = [
  {
    removed: 'the exemption of open streams from what is in flight',
    file,
    from: '      onOpen?.(req)\n',
    to: '',
    tests: ['apps/api/src/streams.test.ts'],
  },
  {
    removed: 'the bound on the streams of one client',
    file,
    from: 'clients.of(client) >= maxStreamsPerClient',
    to: 'clients.of(client) < 0',
    tests,
  },
  {
    removed: 'the age limit of streams',
    file,
    from: 'setTimeout(stream.end, between(maxAgeMs',
    to: 'setTimeout(() => {}, between(maxAgeMs',
    tests,
  },
  { removed: 'the response to HEAD', file, from: "req.method === 'HEAD'", to: 'false', tests },
]
