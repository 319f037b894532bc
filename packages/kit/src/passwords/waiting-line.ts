/** Waiting work. Work of one client (`from`) queues behind its own. */
export interface Waiting {
  /** Shares its places with nobody else: an address, for instance. */
  from: string
  /** Known clients and strangers are entitled to half of the places each. */
  isKnown: boolean
  begin(): void
  /** Called when its place went to somebody else. */
  evicted(): void
}

export interface Line {
  size(): number
  /** Returns false when there is no place for it. */
  add(entry: Waiting, maxWaiting: number): boolean
  remove(entry: Waiting): void
  /** Takes out the one whose turn it is. */
  next(): Waiting | undefined
  /** Counts work of this client that is begun: the client with the least of it lately comes first in every other turn. */
  count(from: string): void
}

/** Clients in the order of their turns, each with what it lets wait. */
type Clients = Map<string, Waiting[]>

/**
 * A line in which no client can keep others from their turn by coming often. Turns go round: to a known client and to a stranger,
 * and among each of them from client to client; every other turn goes to the client that had least work lately, so that a
 * flood from many addresses delays a client that comes once by a few turns only. When all places are taken, a newcomer gets
 * the last one of the client that has more than its due: of the other kind if that has more than half, otherwise of the client that
 * has most, now or lately.
 */
export function createLine(): Line {
  const begun = createCounts()
  let byNeed = false
  const kinds = { known: new Map() as Clients, strangers: new Map() as Clients }
  let turn: keyof typeof kinds = 'known'
  const kindOf = ({ isKnown }: Waiting) => (isKnown ? kinds.known : kinds.strangers)
  const sizeOf = (clients: Clients) => [...clients.values()].reduce((sum, { length }) => sum + length, 0)
  const size = () => sizeOf(kinds.known) + sizeOf(kinds.strangers)

  function remove(entry: Waiting): void {
    const clients = kindOf(entry)
    const left = clients.get(entry.from)?.filter((other) => other !== entry) ?? []
    if (left.length > 0) clients.set(entry.from, left)
    else clients.delete(entry.from)
  }

  /** The one that gives its place to `newcomer`, if any. */
  function lastOfTheGreediest(newcomer: Waiting, maxWaiting: number): Waiting | undefined {
    const own = kindOf(newcomer)
    const other = own === kinds.known ? kinds.strangers : kinds.known
    const mayTakeFromOthers = sizeOf(own) < Math.floor(maxWaiting / 2)
    const most = [...(mayTakeFromOthers ? other : own).values()].reduce<Waiting[]>(
      (most, waiting) => (waiting.length >= most.length ? waiting : most),
      [],
    )
    const isGreedier = mayTakeFromOthers || most.length > (own.get(newcomer.from)?.length ?? 0) + 1
    if (isGreedier) return most.at(-1)
    const [last] = [...own.values()].sort(([a], [b]) => begun.of(b?.from) - begun.of(a?.from))
    return begun.of(last?.[0]?.from) > begun.of(newcomer.from) + 1 ? last?.at(-1) : undefined
  }

  return {
    size,
    remove,
    count: begun.add,
    add(entry, maxWaiting) {
      if (size() >= maxWaiting) {
        const last = lastOfTheGreediest(entry, maxWaiting)
        if (last === undefined) return false
        remove(last)
        last.evicted()
      }
      const clients = kindOf(entry)
      clients.set(entry.from, [...(clients.get(entry.from) ?? []), entry])
      return true
    },
    next() {
      turn = turn === 'known' ? 'strangers' : 'known'
      const clients = kinds[turn].size > 0 ? kinds[turn] : kinds[turn === 'known' ? 'strangers' : 'known']
      const inTurn = [...clients]
      byNeed = turn === 'known' ? !byNeed : byNeed // changes once both kinds have had a turn
      if (byNeed) inTurn.sort(([a], [b]) => begun.of(a) - begun.of(b))
      const [first] = inTurn
      if (first === undefined) return undefined
      const [from, [entry, ...others]] = first
      clients.delete(from)
      if (others.length > 0) clients.set(from, others) // behind the other clients
      return entry
    },
  }
}

/** Clients whose work is counted, twice as many at most; beyond that the oldest counts are forgotten. */
const maxCounted = 5000
const countedMs = 60_000

/** How much work of each client was begun in the last minute or two. */
function createCounts() {
  let before = new Map<string, number>()
  let now = new Map<string, number>()
  let since = performance.now()
  return {
    of: (from = '') => (now.get(from) ?? 0) + (before.get(from) ?? 0),
    add(from: string) {
      if (now.size >= maxCounted || performance.now() - since > countedMs) {
        before = now
        now = new Map()
        since = performance.now()
      }
      now.set(from, (now.get(from) ?? 0) + 1)
    },
  }
}
