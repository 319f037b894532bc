import { isAlive } from '@escala/servers/processes'

export interface Lifetime {
  /** Aborted, with the reason in words, when it is time to stop. */
  ended: AbortSignal
  end(reason: string): void
  untilEnd(): Promise<string>
}

/**
 * A program's time to run: it ends with Ctrl-C, SIGTERM, SIGHUP, and with its parents, since a signal to npm may never get
 * here. A second signal within a second is the same one, delivered twice by some shells; a later one exits at once.
 */
export function createLifetime(): Lifetime {
  const controller = new AbortController()
  let since: number | undefined
  const end = (reason: string) => {
    if (since === undefined) {
      since = Date.now()
      controller.abort(reason)
    } else if (Date.now() - since > 1000 && reason.startsWith('SIG')) {
      process.stderr.write('stopping at once\n')
      process.exit(1) // the guards end the servers
    }
  }
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => end(signal))

  // Set by scripts/run.mjs: its own process, npm's, and the shell's between them.
  const parents = (process.env.ESCALA_PARENTS ?? String(process.ppid)).split(',').map(Number)
  const watch = setInterval(() => {
    if (parents.every((pid) => isAlive(pid))) return
    clearInterval(watch)
    end('the program that started this one has ended')
  }, 500)
  watch.unref()
  return {
    ended: controller.signal,
    end,
    untilEnd: () =>
      new Promise((resolve) => {
        if (controller.signal.aborted) resolve(controller.signal.reason)
        controller.signal.addEventListener('abort', () => resolve(controller.signal.reason))
      }),
  }
}
