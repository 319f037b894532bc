/** What Redis is to its clients: cannot be asked, by some never, far away, back without its data, or refusing to write. */
export type State = 'away' | 'boot' | 'slow' | 'empty' | 'read-only'

/**
 * What each route answers, to a user who logged in before. `|`: either, since each refused write reconnects,
 * and a read that comes meanwhile is refused, too.
 */
export const matrix = readMatrix(`
                                    away  boot  slow  empty  read-only
  GET    /v1/shows                  200   200   200   200    200
  GET    /v1/shows/{id}             200   200   200   200    200
  GET    /v1/shows/{id}/poster      200   200   200   200    200
  GET    /v1/openapi.json           200   200   200   200    200
  GET    /docs/                     200   200   200   200    200
  POST   /v1/users                  201   201   201   201    201
  GET    /v1/shows/{id}/live        503   503   200   200    200|503
  POST   /v1/session                503   503   200   200    503
  GET    /v1/session                503   503   200   401    200|503
  DELETE /v1/session                503   503   204   204    503
  GET    /v1/cart                   503   503   200   200    200|503
  PUT    /v1/cart/items/{showId}    503   503   200   200    503
  GET    /v1/orders                 503   503   200   401    200|503
  GET    /v1/orders/{id}            503   503   200   401    200|503
  POST   /v1/shows/{id}/orders      503   503   201   401    201|503
  DELETE /v1/orders/{id}            503   503   200   401    200|503
  GET    /v1/reports/sales          503   503   200   401    200|503
  GET    /v1/flags                  503   503   200   401    200|503
  PUT    /v1/flags/{name}           503   503   200   401    200|503
  POST   /v1/shows                  503   503   201   401    201|503
  PATCH  /v1/shows/{id}             503   503   200   401    200|503
  PUT    /v1/shows/{id}/poster      503   503   200   401    200|503
  GET    /v1/sessions               503   503   200   401    200|503
  DELETE /v1/sessions/{id}          503   503   404   401    404|503
  DELETE /v1/sessions               401   401   401   401    401
  PUT    /v1/password               503   503   401|429  401  401|429|503
  POST   /v1/password-resets        503   503   202   202    503
  PUT    /v1/password-resets        400   400   400   400    400
  POST   /v1/email-verifications    503   503   202|429  401  202|429|503
  PUT    /v1/email-verifications    400   400   400   400    400
  POST   /v1/tokens                 503   503   400   401    400|503
  GET    /v1/tokens                 503   503   200   401    200|503
  DELETE /v1/tokens/{id}            503   503   404   401    404|503
  GET    /v1/me/export              503   503   200|429  401  200|429|503
  DELETE /v1/me                     503   503   401|429  401  401|429|503
  GET    replica/livez              200   200   200   200    200
  GET    replica/readyz             200   503   200   200    200
  GET    replica/metrics            200   200   200   200    200
  GET    replica/scale              200   200   200   200    200
  GET    worker/livez               200   200   200   200    200
  GET    worker/metrics             200   200   200   200    200
`)

/** Route → state → the statuses that are right. */
export type Matrix = Record<string, Record<State, string>>

function readMatrix(text: string): Matrix {
  const [head = '', ...lines] = text.trim().split('\n')
  const states = head.trim().split(/\s+/)
  return Object.fromEntries(
    lines.map((line) => {
      const [method, path, ...statuses] = line.trim().split(/\s+/)
      return [`${method} ${path}`, Object.fromEntries(states.map((state, at) => [state, statuses[at] ?? ''])) as never]
    }),
  )
}
