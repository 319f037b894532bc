import type { Socket } from 'node:net'
import pg from 'pg'

const closeMs = 500

/**
 * A client of `pg` whose end is bounded. `pg` says goodbye and waits until the server closes the connection, which never happens
 * on one that has gone silent; its socket would stay, and with it the process.
 */
export class BoundedClient extends pg.Client {
  override end(): Promise<void>
  override end(callback: (err: Error) => void): void
  override end(callback?: (err: Error) => void): Promise<void> | void {
    const { stream } = (this as unknown as { connection: { stream: Socket } }).connection
    const timer = setTimeout(() => stream.destroy(), closeMs).unref() // an open socket keeps the process until then
    stream.once('close', () => clearTimeout(timer))
    return callback ? super.end(callback) : super.end()
  }
}
