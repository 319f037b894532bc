/** Where lines leave the process. Never blocks and never throws. */
export interface Sink {
  /**
   * Returns the number of bytes that were taken, `full` if the reader is too slow for now, or `failed` if these bytes are lost.
   * May call `settled` later, when it can take more: with `false` if what it took is lost after all.
   */
  write(bytes: Buffer, settled: (arrived: boolean) => void): number | 'full' | 'failed'
  /** Whether everything that was taken has arrived. */
  idle(): boolean
}

export interface LinesOptions {
  sink: Sink
  /** Bound of what waits for a slow reader; lines beyond it are dropped and counted. Default 1 MB. */
  maxBytes?: number
  /** Called after lines were lost, once lines can be written again. */
  onLost?(lines: number): void
}

export interface Lines {
  /** Never blocks, never throws. Lines of one turn of the event loop leave together. */
  write(line: string): void
  /** Lines lost since the process began. */
  lost(): number
  /** Resolves when everything was written, at the latest after `ms`. */
  flush(ms: number): Promise<void>
  /** Does the same without letting anything else run: for the end of the process. */
  flushSync(ms: number): void
}

const slowReaderMs = 50
const brokenMs = 1000 // a closed pipe or a full disk, which may work again

export function createLines({ sink, maxBytes = 1_000_000, onLost = () => undefined }: LinesOptions): Lines {
  let text = ''
  let rest: Buffer | undefined // offered, and taken in part or not at all
  let planned = false
  let timer: NodeJS.Timeout | undefined
  let lost = 0
  let reported = 0
  let cutOff = false // the last byte written was not the end of a line
  let works = false // the last write did

  const countLost = (bytes: Buffer) => {
    for (let end = bytes.indexOf('\n'); end !== -1; end = bytes.indexOf('\n', end + 1)) lost++
  }
  /** Returns how long to wait before the next try; 0 when nothing waits. */
  const attempt = (): number => {
    for (;;) {
      if (rest === undefined && text === '') {
        if (!works || reported === lost) return 0
        const lines = lost - reported
        reported = lost
        onLost(lines)
        continue
      }
      if (rest === undefined) {
        rest = Buffer.from(cutOff ? `\n${text}` : text)
        text = ''
      }
      const bytes = rest
      const taken = sink.write(bytes, (arrived) => {
        if (!arrived) countLost(bytes)
        if (timer) flush()
      })
      works = typeof taken === 'number'
      if (taken === 'full') return slowReaderMs
      if (taken === 'failed') {
        countLost(bytes)
        rest = undefined
        return brokenMs
      }
      rest = taken < bytes.length ? bytes.subarray(taken) : undefined
      cutOff = rest !== undefined
    }
  }
  const flush = () => {
    clearTimeout(timer)
    timer = undefined
    planned = false
    const pauseMs = attempt()
    if (pauseMs === 0 || planned) return
    planned = true
    timer = setTimeout(flush, pauseMs).unref()
  }
  return {
    write(line) {
      if (text.length + (rest?.length ?? 0) + line.length > maxBytes) {
        lost++
        return
      }
      text += line
      if (planned) return
      planned = true
      setImmediate(flush)
    },
    lost: () => lost,
    async flush(ms) {
      const deadline = Date.now() + ms
      while ((attempt() > 0 || !sink.idle()) && Date.now() < deadline) await new Promise((next) => setTimeout(next, 5))
    },
    flushSync(ms) {
      const deadline = Date.now() + ms
      const clock = new Int32Array(new SharedArrayBuffer(4))
      while (attempt() === slowReaderMs && Date.now() < deadline) Atomics.wait(clock, 0, 0, 5)
    },
  }
}
