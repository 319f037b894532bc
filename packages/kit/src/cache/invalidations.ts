export interface InvalidationsOptions {
  send(key: string, version: number | undefined): Promise<void>
  /** Invalidates everything: for invalidations that are not remembered one by one. */
  sendAll(): Promise<void>
  failed(error: unknown): void
  /** So many invalidations are remembered one by one; beyond them, everything is invalidated. Default: 10,000. */
  maxPending?: number
  /** Called once when there are too many to remember. */
  overflowed(): void
}

/**
 * Invalidations that Redis did not take are sent again, each second, until it does: otherwise the second tier would keep
 * returning the old values. Only the death of this process in between loses them.
 */
export function createInvalidations({ send, sendAll, failed, maxPending = 10_000, overflowed }: InvalidationsOptions) {
  const pending = new Map<string, number | undefined>()
  let everything = false
  let timer: NodeJS.Timeout | undefined

  const remember = (key: string, version: number | undefined) => {
    if (everything) return
    pending.set(key, version)
    if (pending.size <= maxPending) return
    everything = true
    pending.clear()
    overflowed()
  }
  const attempt = async (key: string, version: number | undefined) => {
    try {
      await send(key, version)
      if (pending.get(key) === version) pending.delete(key)
      return true
    } catch (error) {
      failed(error)
      remember(key, version)
      return false
    }
  }
  const attemptAll = async () => {
    try {
      everything = false // failures from now on are counted again
      await sendAll()
      return true
    } catch (error) {
      failed(error)
      everything = true
      pending.clear()
      return false
    }
  }
  const again = async () => {
    timer = undefined
    if (!everything || (await attemptAll())) {
      for (const [key, version] of [...pending]) if (!(await attempt(key, version))) break
    }
    schedule()
  }
  const schedule = () => {
    if (pending.size > 0 || everything) timer ??= setTimeout(again, 1000).unref()
  }

  return {
    async send(key: string, version: number | undefined) {
      await attempt(key, version)
      schedule()
    },
    stop: () => clearTimeout(timer),
  }
}
