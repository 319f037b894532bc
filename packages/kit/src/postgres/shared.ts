import type { Connections } from './connections.ts'
import type { Connection, Pool } from './pool.ts'
import type { Statement } from './statement.ts'

export interface SharedConnectionOptions {
  pool: Pool
  connections: Connections
  /** Called when the connection ends by itself. */
  onLost(connection: Connection, error: Error): void
}

/**
 * One connection of the pool on which many small reads are under way at once: they leave in one write for each turn of the event
 * loop, and their answers come back in order.
 */
export interface SharedConnection {
  /**
   * Returns the connection for one statement, to be given back with `done`. `undefined`: the statement is not one to share it, there
   * is none now, or it has not answered for a tenth of a second; use the pool.
   * Throws for a statement that could wait for a lock: it would hold up all reads.
   */
  borrow(statement: string | Statement): Connection | undefined
  done(connection: Connection): void
  /** Gives the connection back to the pool as soon as nothing is under way on it. */
  end(): void
}

interface Held {
  connection: Connection
  underWay: number
  usedAt: number
  /** When it was asked last without being busy. */
  busySince: number
  lost(error: Error): void
}

// With fewer, all are needed for transactions.
const leastToShare = 4
// Shorter than what asks now and then by itself, so that it is given back when nobody else does.
const idleMs = 3000
// After so long without an answer something holds up those behind it: others need not join them.
const stalledMs = 100
const retryMs = 500

export function createSharedConnection({ pool, connections, onLost }: SharedConnectionOptions): SharedConnection {
  let current: Held | undefined
  const leaving = new Map<Connection, Held>()
  let isTaking = false
  let takeAt = 0
  let hasEnded = false
  const judged = new WeakSet<Statement>()

  const isShared = (statement: string | Statement) => {
    if (typeof statement === 'string' || !statement.shared) return false
    if (judged.has(statement)) return true
    if (canWait(statement)) throw new Error(`${statement.name} must not share a connection: it could wait for a lock`)
    judged.add(statement)
    return true
  }
  const giveBack = ({ connection, lost }: Held) => {
    leaving.delete(connection)
    connection.off('error', lost)
    writeAtOnce(connection)
    pool.give(connection)
  }
  const leave = () => {
    const held = current
    if (held === undefined) return
    current = undefined
    if (held.underWay === 0) return giveBack(held)
    leaving.set(held.connection, held)
  }
  const take = async () => {
    isTaking = true
    try {
      const connection = await pool.take()
      const lost = (error: Error) => {
        onLost(connection, error)
        if (current?.connection === connection) leave()
      }
      connection.on('error', lost)
      writeOncePerTurn(connection)
      current = { connection, underWay: 0, usedAt: performance.now(), busySince: 0, lost }
      if (hasEnded) leave()
    } catch {
      takeAt = performance.now() + retryMs // the next user of the database will report why
    } finally {
      isTaking = false
    }
  }
  const tidy = () => {
    if (current === undefined) return
    const isIdle = current.underWay === 0 && performance.now() - current.usedAt > idleMs
    if (isIdle || pool.isStale(current.connection)) leave()
  }
  const stopHearing = connections.onRetire(tidy)
  const timer = setInterval(tidy, idleMs)
  timer.unref()

  return {
    borrow(statement) {
      if (!isShared(statement)) return undefined
      if (current && pool.isStale(current.connection)) leave()
      if (current) {
        const now = performance.now()
        if (current.underWay === 0) current.busySince = now
        else if (now - Math.max(current.busySince, current.connection.heardAt) > stalledMs) return undefined
        current.underWay++
        current.usedAt = now
        return current.connection
      }
      const mayTake = !hasEnded && !isTaking && performance.now() >= takeAt
      if (mayTake && pool.stats().max >= leastToShare) void take()
      return undefined
    },
    done(connection) {
      const held = current?.connection === connection ? current : leaving.get(connection)
      if (held === undefined) return
      held.underWay--
      if (held !== current && held.underWay === 0) giveBack(held)
    },
    end() {
      hasEnded = true
      stopHearing()
      clearInterval(timer)
      leave()
    },
  }
}

const waits = /\bFOR\s+(?:NO\s+KEY\s+|KEY\s+)?(?:UPDATE|SHARE)\b|\bpg_advisory/i

function canWait({ text }: Statement): boolean {
  return !/^\s*SELECT\b/i.test(text) || waits.test(text)
}

interface Corked {
  connection: { stream: { cork(): void; uncork(): void } }
}

/** pg corks the stream around each statement; this corks it around the turn. A system call is what a small statement costs most. */
function writeOncePerTurn(connection: Connection): void {
  const { stream } = (connection as unknown as Corked).connection
  const cork = stream.cork.bind(stream)
  let isCorked = false
  stream.cork = () => {
    cork()
    if (isCorked) return
    isCorked = true
    cork()
    setImmediate(() => {
      isCorked = false
      stream.uncork()
    })
  }
}

function writeAtOnce(connection: Connection): void {
  const { stream } = (connection as unknown as Corked).connection
  // What is left is the stream's own method.
  delete (stream as Partial<typeof stream>).cork
}
