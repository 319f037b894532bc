import type { Outbox, OutboxMessage } from '@escala/kit/outbox/outbox'
import { createPostgresOutbox } from '@escala/kit/outbox/postgres'
import type { Sql } from '@escala/kit/postgres/postgres'
import type { Parts as ApiParts } from '../../apps/api/src/parts.ts'
import type { Parts as WorkerParts } from '../../apps/worker/src/parts.ts'

/** The work of a request is handed on without the request's id. */
function outbox(): Outbox {
  const kept = createPostgresOutbox()
  return {
    scope: kept.scope,
    add: (tx: Sql, { requestId: _, traceparent: __, ...message }: OutboxMessage) => kept.add(tx, message),
    insert: (select: string) =>
      kept.insert(
        `SELECT type, aggregate, payload, NULL, NULL FROM (${select}) AS message (type, aggregate, payload, id, trace)`,
      ),
  }
}

/** Each process numbers what it does by itself. */
export const apiParts: Partial<ApiParts> = {
  outbox,
  listener: (app) => (req, res) => {
    delete req.headers['x-request-id']
    delete req.headers.traceparent
    app(req, res)
  },
}

export const workerParts: Partial<WorkerParts> = { outbox }
