import type { Mutant } from '../mutant.ts'

const file = 'packages/kit/src/events/sse.ts'
const tests = ['packages/kit/src/events/sse.unit.test.ts']

export const mutants: Mutant[] = [
  {
    removed: 'the order of events that were announced in another one',
    file: 'packages/kit/src/events/in-order.ts',
    from: '      early.set(revision, data)\n',
    to: '      place = { eventId, revision }\n      return emit(data, place)\n',
  },
  {
    removed: 'what a client missed, when it comes back',
    file: 'packages/kit/src/events/redis.ts',
    // biome-ignore lint/suspicious/noTemplateCurlyInString: code of another file
    from: "afterId === undefined ? [] : redis.xrange(streamOf(name), `(${afterId}`, '+'),",
    to: '[],',
  },
  {
    removed: 'the exemption of open streams from what is in flight',
    file,
    from: '    onOpen?.(req)\n',
    to: '',
    tests: ['apps/api/src/streams.test.ts'],
  },
  {
    removed: 'the bound on the streams of one client',
    file: 'packages/kit/src/events/places.ts',
    from: 'of(client) >= allowed()',
    to: 'of(client) < 0',
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
