export interface CleanUps {
  /** Remembers what must be stopped; returns it. */
  keep<T extends { stop(): Promise<unknown> }>(part: T): T
  /** Stops everything, the newest first; what is kept later is stopped at once. Can be called twice. */
  run(): Promise<void>
}

/** So that nothing is left behind by a start that failed half-way, either. */
export function createCleanUps(): CleanUps {
  const parts: { stop(): Promise<unknown> }[] = []
  let running: Promise<void> | undefined
  return {
    keep(part) {
      if (running) running = running.then(async () => void (await part.stop()))
      else parts.push(part)
      return part
    },
    run() {
      running ??= (async () => {
        for (const part of parts.reverse()) await part.stop()
      })()
      return running
    },
  }
}
