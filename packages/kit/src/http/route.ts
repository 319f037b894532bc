import type { Request, Response } from 'express'
import type { z } from 'zod'
import type { IdempotentRequest } from '../idempotency/idempotency.ts'
import type { Once } from '../idempotency/once.ts'
import type { Logger } from '../log/log.ts'
import type { FormFile } from './form.ts'
import type {} from './request-context.ts' // what it adds to Express's Request: modules that are compiled alone need it

export type Method = 'get' | 'post' | 'put' | 'patch' | 'delete'
/** `public`: no log-in needed. `user`: a log-in. `role`: a log-in of a user who has this role, which some module must declare. */
export type Access = 'public' | 'user' | { role: string }

export interface User {
  id: string
}

/** Who is logged in, as a route of this access can know. */
export type UserOf<A extends Access> = A extends 'public' ? User | undefined : User

/** `true`: a request without an `Idempotency-Key` is refused. `optional`: it is a request like any other. */
export type Idempotent = true | 'optional'

export type OnceOf<I> = I extends true ? Once : I extends 'optional' ? Once<IdempotentRequest | undefined> : undefined

export interface Context<Params, Query, Body, A extends Access = Access, I extends Idempotent | undefined = undefined> {
  params: Params
  query: Query
  body: Body
  /** On a `public` route `undefined` without a log-in, and while sessions cannot be read. */
  user: UserOf<A>
  /** Runs the effect of an `idempotent` route, together with its key. */
  once: OnceOf<I>
  requestId: string
  /** Context of the trace that this request is a part of, if any. */
  traceparent: string | undefined
  log: Logger
  /** Aborted when the client goes away or the request's deadline passes. */
  signal: AbortSignal
  req: Request
  res: Response
}

/** The exact bytes of a body, for signatures: nothing parses them, and a body with a `Content-Encoding` is refused. */
export interface RawBody {
  raw: {
    /** At most 2 MiB: it is held in memory, and NGINX lets no more through. */
    maxBytes: number
    /** Media types: `application/json`, `text/*`. */
    types: string[]
  }
}

/** A form with one file under the name `file`: `multipart/form-data`, as browsers send it. It is read after the log-in is known. */
export interface FormBody<Fields extends z.ZodType = z.ZodType> {
  form: {
    /** The file's, at most 1.9 MiB: all of it is in memory, and NGINX lets 2 MiB of body through. */
    maxBytes: number
    /** The other fields, as text. */
    fields: Fields
  }
}

export type BodySpec = z.ZodType | RawBody | FormBody

/** What a handler gets as its `body`. */
export type BodyOf<B> = B extends RawBody
  ? Buffer
  : B extends FormBody<infer Fields>
    ? { fields: z.output<Fields>; file: FormFile }
    : B extends z.ZodType
      ? z.output<B>
      : undefined

/** A limit of a route's own, beside those of every request. All replicas share it. */
export interface LimitOption {
  /** At most 1,000,000. */
  requests: number
  /** At most a day. */
  windowMs: number
  /** Whose requests are counted. Default: the user's, or those of the address of a client that is not logged in. */
  by?: 'user' | 'address'
  /** While Redis is unreachable, each replica allows its share of the limit; `refuse` responds with a 503 instead. */
  onStoreError?: 'refuse'
}

export interface RouteResponse {
  status: number
  body?: unknown
  headers?: Record<string, string>
  /** Made earlier, maybe by another version of the code: it is sent as it is, and not held to this version's schema. `once` sets it. */
  stored?: boolean
}

export interface ResponseDescription {
  description: string
  schema?: z.ZodType
  /** Default `application/json`. */
  contentType?: string
}

/** One route: what validates it is what documents it. */
export interface Route<
  Params extends z.ZodType = z.ZodType,
  Query extends z.ZodType = z.ZodType,
  Body extends BodySpec = BodySpec,
  A extends Access = Access,
  I extends Idempotent | undefined = Idempotent | undefined,
> {
  method: Method
  /** Express's form: `/v1/things/:id`. */
  path: string
  summary: string
  /** Groups routes in the documentation. Default: the module's name. */
  tag?: string
  access: A
  /** Never shed when there is too much work: cheap, or the end of something that has been paid for. */
  essential?: boolean
  /**
   * A `public` route that writes and does not care who asks: it is served with a session cookie too while sessions
   * cannot be read. Other routes that write return a 503 then, since the owner of the session is unknown.
   */
  ignoresSession?: boolean
  /**
   * What a token needs to be used here, all of it. A route that names none takes no token (403 `E_SCOPE`): name none where the
   * route is about the account. Public routes that read respond as without a token.
   */
  scopes?: string[]
  /**
   * Repeats the response when a client repeats its request: the user's `Idempotency-Key` stands for method, path and body.
   * The handler passes its effect to `once`. For routes with a user that write.
   */
  idempotent?: I
  /** Counted before the input is validated. One more request gets `E_RATE_LIMITED`. */
  limit?: LimitOption
  params?: Params
  query?: Query
  /** JSON, by its schema; or raw; or a form with a file. A DELETE may come without JSON, which is then read as `{}`. */
  body?: Body
  /** Request headers for the documentation; name → description. */
  headers?: Record<string, string>
  responses: Record<number, ResponseDescription>
  /** The error codes that are this route's own. */
  errors?: string[]
  /** `undefined`: the handler answered by itself, through `res` (streams). */
  handle(context: Context<z.output<Params>, z.output<Query>, BodyOf<Body>, A, I>): Promise<RouteResponse | undefined>
}

/** Keeps the types of one route's parts while lists of routes stay plain. */
export function route<
  Params extends z.ZodType,
  Query extends z.ZodType,
  Body extends BodySpec,
  A extends Access,
  I extends Idempotent | undefined = undefined,
>(definition: Route<Params, Query, Body, A, I>): Route {
  return definition as unknown as Route
}
