import type { Postgres, Sql } from '../postgres/postgres.ts'
import type {
  EffectStatement,
  Idempotency,
  IdempotentRequest,
  StatementOutcome,
  StoredResponse,
} from './idempotency.ts'
import { runAlone } from './statement.ts'

/** A response that may be an earlier one. It is what a route returns; headers are added to it afterwards, as they are not stored. */
export interface OnceResponse<Body> {
  status: number
  body: Body
  /** Whether an earlier request made it, maybe by another version of the code. */
  stored: boolean
}

/**
 * Runs the effect of one request, at most once for each key. A rejected effect leaves nothing behind, and the key is free again.
 * `Keyed` includes `undefined` where a client may leave the key out: then the effect runs each time.
 */
export interface Once<Keyed = IdempotentRequest> {
  /** The transaction, the key and the response commit together. Write through `tx` only. */
  <Body>(effect: (tx: Sql) => Promise<OnceEffect<Body>>): Promise<OnceResponse<Body>>
  /** An effect that is one statement: one round trip for everything. `undefined`: refused; `row` is absent in a replay. */
  statement<Body = unknown, Row = unknown>(
    effect: EffectStatement,
  ): Promise<(OnceResponse<Body> & { row?: Row }) | undefined>
  /** Another way to use the key, such as a batch of several requests. */
  with<Body = unknown, Row = unknown>(
    run: (request: Keyed) => Promise<StatementOutcome<Row>>,
  ): Promise<OnceResponse<Body> & { row?: Row }>
}

/** What an effect responds with. Headers are not stored: add them to what `once` returns. */
export interface OnceEffect<Body> {
  status: number
  body?: Body
  headers?: never
}

export interface CreatedOnce<Keyed> {
  once: Once<Keyed>
  /** Whether the response is an earlier one. Throws when a handler reports a success and has run nothing: its effect would have no key. */
  isReplayed(status: number): boolean
}

export interface OnceParts {
  idempotency: Idempotency
  postgres: Pick<Postgres, 'query' | 'transaction'>
}

/** Binds a request's key to what may run under it. Throws when a second effect is run: it would get the response of the first. */
export function createOnce<Keyed extends IdempotentRequest | undefined>(
  { idempotency, postgres }: OnceParts,
  request: Keyed,
): CreatedOnce<Keyed> {
  let state: 'unused' | 'ran' | 'replayed' = 'unused'
  const use = async <Outcome extends { replayed: boolean } | undefined>(run: () => Promise<Outcome>) => {
    if (state !== 'unused') throw new Error('a request runs one effect under its key')
    state = 'ran'
    const outcome = await run()
    if (outcome?.replayed) state = 'replayed'
    return outcome
  }
  const transaction = (effect: (tx: Sql) => Promise<StoredResponse>) =>
    request === undefined
      ? postgres.transaction(effect).then((response) => ({ response, replayed: false }))
      : idempotency.run(request, effect)
  const statement = <Row>(effect: EffectStatement) =>
    request === undefined ? runAlone<Row>(postgres, effect) : idempotency.runStatement<Row>(request, effect)

  const once = async <Body>(effect: (tx: Sql) => Promise<OnceEffect<Body>>) => {
    const withBody = async (tx: Sql) => {
      const { status, body } = await effect(tx)
      return { status, body }
    }
    return toResponse<Body, never>(await use(() => transaction(withBody)))
  }
  return {
    once: Object.assign(once, {
      async statement<Body, Row>(effect: EffectStatement) {
        const outcome = await use(() => statement<Row>(effect))
        return outcome && toResponse<Body, Row>(outcome)
      },
      async with<Body, Row>(run: (request: Keyed) => Promise<StatementOutcome<Row>>) {
        return toResponse<Body, Row>(await use(() => run(request)))
      },
    }),
    isReplayed(status) {
      if (state === 'unused' && status < 400) throw new Error('an idempotent route passes its effect to once')
      return state === 'replayed'
    },
  }
}

function toResponse<Body, Row>({
  response,
  replayed,
  row,
}: {
  response: StoredResponse
  replayed: boolean
  row?: Row
}) {
  const { status, body } = response
  return { status, body: body as Body, stored: replayed, ...(row !== undefined && { row }) }
}
