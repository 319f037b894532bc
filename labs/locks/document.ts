import type { RequestListener } from 'node:http'
import { setTimeout as wait } from 'node:timers/promises'
import type { Postgres } from '@escala/kit/postgres/postgres'
import type { Deps, Parts } from '../../apps/api/src/parts.ts'

/** A list of entries that is read, thought about, and written as a whole: a file in a bucket, a page of a wiki. */
export const tables = `
  CREATE TABLE lab_documents (id text PRIMARY KEY, entries text[] NOT NULL DEFAULT '{}', fence bigint NOT NULL DEFAULT 0);
  CREATE TABLE lab_sections (document text, entry text, began_at timestamptz DEFAULT clock_timestamp(), ended_at timestamptz)`

export interface Work {
  document: string
  entry: string
  leaseMs: number
  /** Between the read and the write. */
  workMs: number
}

export type Outcome = 'written' | 'refused by its fence' | 'stopped' | 'not locked'

/** How the document is guarded: what differs between the halves. */
export type AddEntry = (deps: Deps, work: Work, edit: Edit) => Promise<Outcome>
/** Reads, works, and hands the new entries to `write`. */
export type Edit = (signal: AbortSignal | undefined, write: (entries: string[]) => Promise<boolean>) => Promise<boolean>

/** `POST /lab/entries` adds an entry to a document, under a lock. */
export function documentPart(addEntry: AddEntry): Partial<Parts> {
  return {
    listener: (app, deps): RequestListener => {
      return (req, res) => {
        const url = new URL(req.url ?? '', 'http://localhost')
        if (url.pathname !== '/lab/entries') return app(req, res)
        const { document = '', entry = '', leaseMs, workMs } = Object.fromEntries(url.searchParams)
        const work = { document, entry, leaseMs: Number(leaseMs), workMs: Number(workMs) }
        addEntry(deps, work, editor(deps.postgres, work)).then(
          (outcome) => res.setHeader('Content-Type', 'application/json').end(JSON.stringify({ outcome })),
          (err) => {
            deps.log.error({ err }, 'no entry added')
            res.writeHead(500).end()
          },
        )
      }
    },
  }
}

const editor =
  (postgres: Postgres, { document, entry, workMs }: Work): Edit =>
  async (signal, write) => {
    const { rows } = await postgres.query<{ entries: string[] }>('SELECT entries FROM lab_documents WHERE id = $1', [
      document,
    ])
    await postgres.query('INSERT INTO lab_sections (document, entry) VALUES ($1, $2)', [document, entry])
    try {
      await wait(workMs, undefined, { signal })
      return await write([...(rows[0]?.entries ?? []), entry])
    } finally {
      await postgres.query('UPDATE lab_sections SET ended_at = clock_timestamp() WHERE document = $1 AND entry = $2', [
        document,
        entry,
      ])
    }
  }
