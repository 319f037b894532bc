import type { Mutant } from '../mutant.ts'

export const mutants: Mutant[] = [
  {
    removed: 'the renewal of the id at log-in',
    file: 'packages/kit/src/sessions/log-in.ts',
    from: 'if (isKnown || before.ended) newSessionId(req)',
    to: 'if (before.ended) newSessionId(req)',
  },
  {
    removed: 'the save that is awaited before the response',
    file: 'packages/kit/src/sessions/log-in.ts',
    from: '    saveSession(req),\n',
    to: '    undefined,\n',
  },
  {
    removed: 'the one reader of the cookie',
    file: 'packages/kit/src/sessions/express-session.ts',
    // biome-ignore lint/suspicious/noTemplateCurlyInString: code of another file
    from: '    req.headers.cookie = cookie && `${name}=${cookie.raw}`\n',
    to: '',
    tests: ['packages/kit/src/sessions'],
  },
  {
    removed: 'the end of other sessions that the cookies name',
    file: 'packages/kit/src/sessions/log-in.ts',
    from: 'return Promise.all(otherSessions(req).map((id) => settled((done) => store.destroy(id, done))))',
    to: 'return Promise.all([store])',
    tests: ['packages/kit/src/sessions'],
  },
]
