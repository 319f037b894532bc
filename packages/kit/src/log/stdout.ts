import cluster from 'node:cluster'
import { constants, fstatSync, openSync, writeSync } from 'node:fs'
import type { Sink } from './lines.ts'

const stdoutFd = 1

/** Standard output as it is: a file, a pipe, a socket, a terminal, or whatever a supervisor has put in its place. */
export function stdoutSink(): Sink {
  // PM2's cluster mode gives all replicas the descriptor of its daemon, and replaces `write` to separate their lines.
  if (cluster.isWorker && Object.hasOwn(process.stdout, 'write')) return replacedSink()
  return descriptorSink(nonBlocking())
}

/**
 * Returns a descriptor whose writes do not block: a reader that stands still must not stop the process. The pipe is opened once
 * more, since the flags of descriptor 1 are shared with other processes, and each Node puts them back when it ends. Sockets, and
 * systems without /proc, get the flag from `process.stdout`.
 */
function nonBlocking(): number {
  if (fstatSync(stdoutFd).isFile()) return stdoutFd
  try {
    return openSync(`/proc/self/fd/${stdoutFd}`, constants.O_WRONLY | constants.O_NONBLOCK | constants.O_NOCTTY)
  } catch {
    process.stdout.on('error', () => undefined)
    return stdoutFd
  }
}

function descriptorSink(fd: number): Sink {
  return {
    write(bytes) {
      try {
        return writeSync(fd, bytes)
      } catch (error) {
        return (error as NodeJS.ErrnoException).code === 'EAGAIN' ? 'full' : 'failed'
      }
    },
    idle: () => true,
  }
}

// After so much, the supervisor has to show that it still reads its channel, where each line goes as well.
const unconfirmedBytes = 256_000

/** One piece at a time: what waits is then bounded here, and not in the queues behind `write`. */
function replacedSink(): Sink {
  let open = 0
  let unconfirmed = 0
  return {
    write(bytes, settled) {
      if (open > 0) return 'full'
      let arrived = true
      const close = (error?: Error | null) => {
        if (error) arrived = false
        if (--open === 0) settled(arrived)
      }
      open++
      unconfirmed += bytes.length
      if (unconfirmed > unconfirmedBytes && process.connected) {
        unconfirmed = 0
        open++
        process.send?.('log', undefined, undefined, () => close())
      }
      process.stdout.write(bytes.toString(), 'utf8', close)
      return bytes.length
    },
    idle: () => open === 0,
  }
}
