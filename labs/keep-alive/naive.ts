import type { Server } from 'node:http'
import type { Parts } from '../../apps/api/src/parts.ts'

const keepAliveMs = Number(process.env.LAB_KEEP_ALIVE_MS)

/** A server that closes idle connections long before NGINX does, as Node's default of 5 s does (here shorter, to save time). */
export const apiParts: Partial<Parts> = {
  listener: (app) => (req, res) => {
    const { server } = req.socket as typeof req.socket & { server: Server & { keepAliveTimeoutBuffer?: number } }
    server.keepAliveTimeout = keepAliveMs
    server.keepAliveTimeoutBuffer = 0
    app(req, res)
  },
}
