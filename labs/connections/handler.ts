import { AppError } from '@escala/kit/errors/app-error'
import { sqlState } from '@escala/kit/postgres/postgres'
import type { Parts } from '../../apps/api/src/parts.ts'

export const path = '/lab/query/'

/** `/lab/query/50`: one statement that takes 50 ms. What Postgres said when it failed is in the answer, for the lab to count. */
export const apiParts: Partial<Parts> = {
  listener(app, { postgres }) {
    return (req, res) => {
      if (!req.url?.startsWith(path)) return app(req, res)
      const seconds = Number(req.url.slice(path.length)) / 1000
      const query = { name: 'lab-connections', text: 'SELECT pg_sleep($1::float8)' }
      const answer = (status: number, code: string) => {
        res.writeHead(status, { 'Content-Type': 'application/json' })
        res.end(JSON.stringify({ code }))
      }
      postgres.query(query, [seconds]).then(
        () => answer(200, ''),
        (error) => {
          const known = error instanceof AppError
          answer(known ? error.kind.status : 500, sqlState(known ? error.cause : error) ?? String(error.code))
        },
      )
    }
  },
}
