import { setTimeout as wait } from 'node:timers/promises'
import { AppError } from '@escala/kit/errors/app-error'
import { createPostgresIdempotency } from '@escala/kit/idempotency/postgres'
import type { Parts } from '../../apps/api/src/parts.ts'

export const path = '/lab/deposits'
export const table = 'CREATE TABLE lab_deposits (key text)'

/** `POST /lab/deposits`: an effect of several steps, in a transaction, with a pause in between. */
export const apiParts: Partial<Parts> = {
  listener: (app, { postgres }) => {
    const idempotency = createPostgresIdempotency({ postgres })
    const deposit = (key: string) =>
      idempotency.run({ owner: 'lab', key, fingerprint: path }, async (tx) => {
        await tx.query('INSERT INTO lab_deposits VALUES ($1)', [key])
        await wait(500)
        await tx.query('SELECT')
        return { status: 201, body: undefined }
      })
    return (req, res) => {
      if (req.url !== path) return app(req, res)
      deposit(String(req.headers['idempotency-key'])).then(
        ({ response }) => res.writeHead(response.status).end(),
        (error) => res.writeHead(error instanceof AppError ? error.kind.status : 500).end(),
      )
    }
  },
}
