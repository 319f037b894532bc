/** The name under which the keys have always been kept. */
const first = 'escala'

/**
 * Where each capability keeps its keys and channels. Applications of different names can share a Redis; processes of one application
 * must have the same name. With `escala` the keys are those of every version before there was a name.
 */
export function redisPrefixes(appName: string) {
  const own = appName === first ? '' : `${appName}:`
  return {
    sessions: `${own}session:`,
    rateLimits: `${own}rate-limit:`,
    logIns: `${own}log-in:`,
    locks: `${own}lock:`,
    /** A module's name for its records follows `prefix`. It must not be one of `taken`, which lead to the keys of the others. */
    sessionState: { prefix: own, taken: ['session', 'rate-limit', 'log-in', 'lock', 'cache', 'flags', 'part', first] },
    /** For every other capability: nothing here has to know its name. */
    of: (capability: string) => `${appName}:part:${capability}:`,
    cache: `${appName}:cache`,
    flags: `${appName}:flags`,
    // The braces keep the keys of one kind together in one slot.
    events: `${appName}:{events}`,
    jobs: `{${appName}}`,
  }
}
