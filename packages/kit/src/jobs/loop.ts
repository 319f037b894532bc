const everyMs = 200

export interface LoopOptions {
  lateMs: number
  /** Called when a timer came that late: for so long nothing else ran in this process, no renewal of a lock either. */
  onLate(ms: number): void
}

/** Watches this process's event loop. */
export function watchLoop({ lateMs, onLate }: LoopOptions): { stop(): void } {
  let expected = performance.now() + everyMs
  const timer = setInterval(() => {
    const now = performance.now()
    const late = now - expected
    expected = now + everyMs
    if (late > lateMs) onLate(Math.round(late))
  }, everyMs).unref()
  return { stop: () => clearInterval(timer) }
}
