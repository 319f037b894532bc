import { connect, type Socket } from 'node:net'

export interface RawConnection {
  socket: Socket
  /** Everything that has arrived so far. */
  received(): string
  write(bytes: string | Buffer): void
  /** Resolves with the part that matches, and forgets everything up to its end. Rejects when the connection ends first, or after `timeoutMs`. */
  next(pattern: RegExp, timeoutMs?: number): Promise<RegExpExecArray>
}

/** A bare connection, for what no HTTP client would send. */
export function openRaw(port: number, localAddress?: string): RawConnection {
  let text = ''
  const socket = connect({ port, host: '127.0.0.1', localAddress })
  socket.on('error', () => undefined)
  socket.on('data', (chunk) => {
    text += chunk.toString('latin1')
  })
  return {
    socket,
    received: () => text,
    write: (bytes) => void socket.write(bytes),
    next: (pattern, timeoutMs = 10_000) =>
      new Promise((resolve, reject) => {
        const stop = (error?: Error, found?: RegExpExecArray) => {
          clearTimeout(timer)
          socket.off('data', look).off('close', end)
          if (found) resolve(found)
          else reject(error)
        }
        const fail = (why: string) => stop(new Error(`${why}, having received: ${text.slice(0, 500)}`))
        const look = () => {
          const found = pattern.exec(text)
          if (!found) return
          text = text.slice(found.index + found[0].length)
          stop(undefined, found)
        }
        const end = () => fail('the connection ended')
        const timer = setTimeout(() => fail(`nothing matched ${pattern} in ${timeoutMs} ms`), timeoutMs)
        socket.on('data', look).on('close', end)
        if (socket.destroyed) end()
        else look()
      }),
  }
}
