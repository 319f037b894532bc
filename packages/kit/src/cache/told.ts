export interface ToldOptions {
  tell(key: string, version: number | undefined): Promise<void>
  failed(error: unknown): void
}

const maxPending = 10_000

/**
 * Invalidations that Redis did not take are told again, each second, until it does: the second tier would else go on
 * answering the old value. Only the death of this process in between loses them.
 */
export function createTold({ tell, failed }: ToldOptions) {
  const pending = new Map<string, number | undefined>()
  let timer: NodeJS.Timeout | undefined

  const attempt = async (key: string, version: number | undefined) => {
    try {
      await tell(key, version)
      if (pending.get(key) === version) pending.delete(key)
      return true
    } catch (error) {
      failed(error)
      if (pending.size < maxPending) pending.set(key, version)
      return false
    }
  }
  const again = async () => {
    timer = undefined
    for (const [key, version] of [...pending]) if (!(await attempt(key, version))) break
    schedule()
  }
  const schedule = () => {
    if (pending.size > 0) timer ??= setTimeout(again, 1000).unref()
  }

  return {
    async tell(key: string, version: number | undefined) {
      await attempt(key, version)
      schedule()
    },
    stop: () => clearTimeout(timer),
  }
}
