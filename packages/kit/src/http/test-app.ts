import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import type { Express } from 'express'

/** Serves an application to a test, on any free port of this machine, until `close`. */
export async function serveApp(app: Express): Promise<{ port: number; url: string; close(): void }> {
  const server = app.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  return {
    port,
    url: `http://127.0.0.1:${port}`,
    close() {
      server.close()
      server.closeAllConnections()
    },
  }
}
