import { setTimeout as wait } from 'node:timers/promises'

/** The status of a GET; 999 when there is no answer. */
export async function statusOf(url: string): Promise<number> {
  try {
    const response = await fetch(url, { signal: AbortSignal.timeout(2000) })
    await response.arrayBuffer()
    return response.status
  } catch {
    return 999
  }
}

/** The first truthy value of `condition`, asked every 50 ms; throws `message` when the time is up. */
export async function until<T>(
  condition: () => T | Promise<T>,
  timeoutMs: number,
  message: string | (() => string),
): Promise<NonNullable<T>> {
  const deadline = Date.now() + timeoutMs
  for (;;) {
    const value = await condition()
    if (value) return value
    if (Date.now() > deadline) throw new Error(typeof message === 'string' ? message : message())
    await wait(50)
  }
}
