import express, { type Request, type RequestHandler, type Response } from 'express'
import { bootErrors, kitErrors } from '../errors/errors.ts'
import type { TakeRoom } from './body-room.ts'
import type { BodySpec, FormBody, RawBody, Route } from './route.ts'

/** Largest raw body that a route may take: NGINX lets no more through, and all of it is in memory. */
const maxRawBytes = 2 * 1024 * 1024

/** A file in a form: less than that, by what surrounds it. */
const maxFormBytes = 1_990_000

export const isForm = (body: BodySpec | undefined): body is FormBody => body !== undefined && 'form' in body
export const isRaw = (body: BodySpec | undefined): body is RawBody => body !== undefined && 'raw' in body

/** Reads a request's body into memory. Rejects when it is too large, of another type, or malformed. */
export type ReadBody = (req: Request, res: Response) => Promise<void>

/**
 * Returns what reads the bodies of a route's requests, in the form that the route declares; forms are read later, by `readForm`.
 * Throws `E_MODULE` for a bound that cannot hold.
 */
export function createReadBody(route: Route, json: RequestHandler, takeRoom: TakeRoom): ReadBody | undefined {
  const { body, method, path } = route
  if (body === undefined) return undefined
  if (isForm(body)) {
    const { maxBytes } = body.form
    if (maxBytes >= 1 && maxBytes <= maxFormBytes) return async (req, res) => takeRoom(req, res, maxBytes)
    throw bootErrors.E_MODULE({
      detail: `${method.toUpperCase()} ${path} takes forms: maxBytes is 1 to ${maxFormBytes}`,
    })
  }
  if (!isRaw(body)) return inTurn(method === 'delete' ? requireJsonIfAny : requireJson, json)
  const { maxBytes, types } = body.raw
  if (!(maxBytes >= 1 && maxBytes <= maxRawBytes) || types.length === 0) {
    const detail = `${method.toUpperCase()} ${path} takes raw bodies: maxBytes is 1 to ${maxRawBytes}, and types names one`
    throw bootErrors.E_MODULE({ detail })
  }
  const read = inTurn(requireType(types), express.raw({ limit: maxBytes, type: types, inflate: false }))
  return (req, res) => {
    takeRoom(req, res, maxBytes)
    return read(req, res)
  }
}

function inTurn(...handlers: RequestHandler[]): ReadBody {
  return async (req, res) => {
    for (const handler of handlers) {
      await new Promise<void>((resolve, reject) => handler(req, res, (error) => (error ? reject(error) : resolve())))
    }
  }
}

/** Returns the raw body; one of length 0 is empty. */
export const rawBodyOf = ({ body }: Request): Buffer => (Buffer.isBuffer(body) ? body : Buffer.alloc(0))

/** What a route with this body responds with besides its own. */
export const bodyErrors = (body: BodySpec | undefined) =>
  isRaw(body) || isForm(body) ? ['E_BODY_TOO_LARGE', 'E_UNSUPPORTED_MEDIA_TYPE', 'E_OVERLOADED'] : []

const requireType = (types: string[]): RequestHandler => {
  const detail = `send ${types.join(' or ')}`
  return (req, _res, next) => next(req.is(types) ? undefined : kitErrors.E_UNSUPPORTED_MEDIA_TYPE({ detail }))
}

const requireJson = requireType(['application/json'])

/** A DELETE may come without a body, which is then read as `{}`. */
const requireJsonIfAny: RequestHandler = (req, res, next) => {
  const { 'content-length': length = '0', 'transfer-encoding': encoding } = req.headers
  if (length === '0' && encoding === undefined) next()
  else requireJson(req, res, next)
}
