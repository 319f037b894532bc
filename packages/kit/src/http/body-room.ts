import type { Request, Response } from 'express'
import { kitErrors } from '../errors/errors.ts'
import { addressKey } from '../rate-limits/middleware.ts'

/** What raw bodies and forms may take together in one replica. */
export const maxRoomBytes = 64 * 1024 * 1024
/** Of that, what those of one address may take. */
export const maxRoomBytesPerAddress = 16 * 1024 * 1024

/** Takes room for a body until its response is closed. Throws `E_OVERLOADED`. */
export type TakeRoom = (req: Request, res: Response, maxBytes: number) => void

/**
 * Bounds what bodies that are read whole take of a replica's memory: each may be large, and many may come at once. A body of unknown
 * length takes as much room as the route allows.
 */
export function createBodyRoom(): TakeRoom {
  const held = new Map<string, number>()
  let sum = 0
  return (req, res, maxBytes) => {
    if (res.closed) return // the client left meanwhile: nothing would give the room back
    const { 'content-length': length } = req.headers
    const bytes = length === undefined ? maxBytes : Math.min(Number(length), maxBytes)
    const address = addressKey(req)
    const ofAddress = (held.get(address) ?? 0) + bytes
    if (sum + bytes > maxRoomBytes || ofAddress > maxRoomBytesPerAddress) {
      throw kitErrors.E_OVERLOADED({ retryAfterMs: 1000 + Math.random() * 2000, reason: 'bodies' })
    }
    sum += bytes
    held.set(address, ofAddress)
    res.once('close', () => {
      sum -= bytes
      const left = (held.get(address) ?? 0) - bytes
      if (left > 0) held.set(address, left)
      else held.delete(address)
    })
  }
}
