import type { Redis } from 'ioredis'

export interface Heartbeat {
  /** Whether the server answered lately: `false` without a connection, and on one that has been silent for a second. */
  isAnswering(): boolean
}

const beatMs = 500
const lateMs = 500

/**
 * Asks a connection that has heard nothing for half a second whether it still works. The pending PING also starts the socket's
 * timeout, so that a connection on which nothing is sent (a subscriber's) is not silent for ever either.
 * A connection whose bytes keep coming is not asked.
 */
export function startHeartbeat(redis: Redis): Heartbeat {
  let received = 0
  let pending = false
  let late = false

  const ask = async () => {
    pending = true
    const timer = setTimeout(() => {
      late = true
    }, lateMs).unref()
    try {
      await redis.ping()
      late = false
    } catch {
      late = true
    } finally {
      clearTimeout(timer)
      pending = false
    }
  }
  const beat = () => {
    if (redis.status !== 'ready') return
    const { bytesRead = 0 } = redis.stream as { bytesRead?: number }
    if (bytesRead === received && !pending) void ask()
    else if (bytesRead !== received) late = false
    received = bytesRead
  }
  const timer = setInterval(beat, beatMs / 2).unref() // the first look after the last bytes only finds that they came
  redis.on('ready', () => {
    late = false
  })
  redis.once('end', () => clearInterval(timer))
  return { isAnswering: () => redis.status === 'ready' && !late }
}
