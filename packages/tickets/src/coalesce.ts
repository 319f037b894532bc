import { AsyncLocalStorage } from 'node:async_hooks'

export interface CoalesceOptions<Item, Result> {
  /** Items with the same value wait for each other, and can be handled together. */
  lane(item: Item): string
  /** No two items with the same value are handled together: the second one is about what becomes of the first. */
  identity(item: Item): string
  /** Aborted when the outcome is no longer awaited: an item that has not begun by then never does. */
  signal(item: Item): AbortSignal
  alone(item: Item): Promise<Result>
  /** Outcomes in the order of `items`, of which there are two or more. When it rejects, none of them had an effect that counts. */
  together(items: Item[]): Promise<PromiseSettledResult<Result>[]>
  /** An error that waiting items would run into as well: they are rejected at once. */
  isOutage(error: unknown): boolean
  /** Most items that are handled together. Default: 100. */
  most?: number
}

interface Waiting<Item, Result> {
  item: Item
  resolve(result: Result): void
  reject(error: unknown): void
  /** Runs work as part of the request that the item came with: its id in the log, its trace. */
  within<T>(work: () => T): T
}

/**
 * Handles together what arrives in one turn of the event loop, or while the one before is under way: one at a time for each
 * lane, without a timer. A lone item goes alone. What waits is bounded by who waits for it, and no outage is waited for twice.
 */
export function coalesce<Item, Result>(options: CoalesceOptions<Item, Result>): (item: Item) => Promise<Result> {
  const { lane, identity, signal, alone, together, isOutage, most = 100 } = options
  const lanes = new Map<string, Waiting<Item, Result>[]>()

  const take = (queue: Waiting<Item, Result>[]) => {
    const taken = new Map<string, Waiting<Item, Result>>()
    const left: Waiting<Item, Result>[] = []
    for (const one of queue) {
      const id = identity(one.item)
      const { aborted, reason } = signal(one.item)
      if (aborted) one.reject(reason)
      else if (taken.size < most && !taken.has(id)) taken.set(id, one)
      else left.push(one)
    }
    queue.splice(0, queue.length, ...left)
    return [...taken.values()]
  }
  /** Returns the outage that has ended it, if one has. */
  const handle = async (batch: Waiting<Item, Result>[]): Promise<unknown> => {
    const items = batch.map(({ item }) => item)
    const [first] = batch
    if (first === undefined) return undefined
    const work = () => (items.length === 1 ? Promise.allSettled([alone(first.item)]) : together(items))
    // Not in the context of the request that found the lane idle: it may have ended long ago.
    const outcomes = await first
      .within(work)
      .catch((reason) => items.map(() => ({ status: 'rejected', reason }) as const))
    let outage: unknown
    for (const [at, { resolve, reject }] of batch.entries()) {
      const outcome = outcomes[at]
      if (outcome?.status === 'fulfilled') resolve(outcome.value)
      else {
        reject(outcome?.reason)
        if (isOutage(outcome?.reason)) outage = outcome?.reason
      }
    }
    return outage
  }
  const run = async (key: string, queue: Waiting<Item, Result>[]) => {
    // A busy process reads several requests in one turn, and clients that were answered together come again together.
    for (await turn(); queue.length > 0; await turn()) {
      const outage = await handle(take(queue))
      if (outage !== undefined) for (const { reject } of queue.splice(0)) reject(outage)
    }
    lanes.delete(key)
  }

  return (item) =>
    new Promise((resolve, reject) => {
      const key = lane(item)
      const queue = lanes.get(key)
      const waiting = { item, resolve, reject, within: AsyncLocalStorage.snapshot() }
      if (queue) return void queue.push(waiting)
      const begun = [waiting]
      lanes.set(key, begun)
      void run(key, begun)
    })
}

const turn = () => new Promise(setImmediate)
