/**
 * Waits for `work`, for at most `ms`; without `ms`, for as long as it takes. Resolves with `false` when the time was over first.
 * Rejects when `work` does. Use it to stop what may be unreachable.
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
