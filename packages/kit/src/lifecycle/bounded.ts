/**
 * Waits for `work`, for at most `ms`; without `ms`, for as long as it takes. Resolves with `true` if `work` resolved in time, with
 * `false` if it did not; rejects if `work` rejects in time. Use it to stop what may be unreachable.
 */
export async function bounded(work: Promise<unknown>, ms?: number): Promise<boolean> {
  if (ms === undefined) {
    await work
    return true
  }
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<boolean>((resolve) => {
    timer = setTimeout(() => resolve(false), ms)
  })
  try {
    return await Promise.race([work.then(() => true), late])
  } finally {
    clearTimeout(timer)
  }
}
