import { kitErrors } from '@escala/kit/errors/errors'
import { decodeCursor, instantKey, type Page, type PageQuery, toPage } from '@escala/kit/http/cursor'
import type { EffectStatement } from '@escala/kit/idempotency/idempotency'
import { type Sql, type Statement, violates } from '@escala/kit/postgres/postgres'
import { v7 } from 'uuid'
import { z } from 'zod'
import { ticketErrors } from './errors.ts'
import type { Show, ShowChange, ShowInput } from './schemas.ts'

interface ShowRow {
  id: string
  name: string
  starts_at: Date
  price_cents: number
  currency: string
  capacity: number
  available: number
  version: number
  revision: number
}

export interface ShowAvailability extends Availability {
  showId: string
}

export type Details = Omit<Show, 'available'>

/** `revision` counts the changes of `available`. */
export interface Availability {
  available: number
  revision: number
}

const columns = 'id, name, starts_at, price_cents, currency, capacity, available, version, revision'

const selectShow: Statement = { name: 'tickets-show', text: `SELECT ${columns} FROM shows WHERE id = $1` }

const selectAvailability: Statement = {
  name: 'tickets-show-availability',
  shared: true,
  text: 'SELECT available, revision FROM shows WHERE id = $1',
}

const selectShows: Statement = {
  name: 'tickets-shows',
  shared: true,
  text: `SELECT ${columns} FROM shows ORDER BY starts_at, id LIMIT $1`,
}

const selectShowsAfter: Statement = {
  name: 'tickets-shows-after',
  shared: true,
  text: `SELECT ${columns} FROM shows WHERE (starts_at, id) > ($2, $3) ORDER BY starts_at, id LIMIT $1`,
}

// The version is compared where it is counted up, so two organisers at once cannot both be right.
const updateShow: Statement = {
  name: 'tickets-show-update',
  text: `UPDATE shows SET
      name = coalesce($3, name), starts_at = coalesce($4, starts_at), price_cents = coalesce($5, price_cents),
      currency = coalesce($6, currency), capacity = coalesce($7, capacity),
      available = available + coalesce($7, capacity) - capacity, version = version + 1,
      revision = revision + ($7::int IS NOT NULL)::int
    WHERE id = $1 AND version = ANY ($2::int[]) RETURNING ${columns}`,
}

/** Read from the source; to display a show, use the show reader. */
export async function readDetails(sql: Sql, id: string): Promise<Details | undefined> {
  const { rows } = await sql.query<ShowRow>(selectShow, [id])
  if (rows[0] === undefined) return undefined
  const { available: _, ...details } = toShow(rows[0])
  return details
}

export async function readAvailability(sql: Sql, id: string): Promise<Availability | undefined> {
  const { rows } = await sql.query<Availability>(selectAvailability, [id])
  return rows[0]
}

/** In the order in which they start. */
export async function listShows(sql: Sql, { cursor, limit }: PageQuery): Promise<Page<Show>> {
  const after = cursor === undefined ? undefined : decodeCursor(cursor, z.tuple([instantKey, z.uuid()]))
  const { rows } = await sql.query<ShowRow>(after ? selectShowsAfter : selectShows, [limit + 1, ...(after ?? [])])
  return toPage(rows, limit, toShow, (row) => [row.starts_at.toISOString(), row.id])
}

export function addShow(input: ShowInput, id = v7()): EffectStatement {
  const { name, startsAt: given, priceCents, currency, capacity } = input
  const startsAt = new Date(given).toISOString()
  const added: Show = { id, name, startsAt, priceCents, currency, capacity, available: capacity, version: 1 }
  return {
    name: 'tickets-show-add',
    changes: `added AS (
        INSERT INTO shows (id, name, starts_at, price_cents, currency, capacity, available)
        SELECT $1::uuid, $2::text, $3::timestamptz, $4::int, $5::text, $6::int, $6::int
        WHERE EXISTS (SELECT FROM unclaimed)
        RETURNING id
      )`,
    response: 'SELECT 201 AS status, $7::json AS body FROM added',
    values: [id, name, startsAt, priceCents, currency, capacity, JSON.stringify(added)],
  }
}

export interface ChangedShow {
  show: Show
  revision: number
}

/** Throws `E_NOT_FOUND`, `E_VERSION_MISMATCH` when its version is none of `versions`, `E_CAPACITY_TOO_SMALL`. */
export async function changeShow(sql: Sql, id: string, versions: number[], change: ShowChange): Promise<ChangedShow> {
  const { name, startsAt, priceCents, currency, capacity } = change
  const values = [name, startsAt === undefined ? undefined : new Date(startsAt), priceCents, currency, capacity]
  try {
    const { rows } = await sql.query<ShowRow>(updateShow, [id, versions, ...values.map((value) => value ?? null)])
    if (rows[0]) return { show: toShow(rows[0]), revision: rows[0].revision }
  } catch (error) {
    if (violates(error, 'shows_available')) throw ticketErrors.E_CAPACITY_TOO_SMALL()
    throw error
  }
  const current = await readDetails(sql, id)
  if (current === undefined) throw kitErrors.E_NOT_FOUND()
  throw ticketErrors.E_VERSION_MISMATCH({ detail: `the version is ${current.version} now` })
}

function toShow(row: ShowRow): Show {
  return {
    id: row.id,
    name: row.name,
    startsAt: row.starts_at.toISOString(),
    priceCents: row.price_cents,
    currency: row.currency,
    capacity: row.capacity,
    available: row.available,
    version: row.version,
  }
}
