import { z } from 'zod'
import { kitErrors } from '../errors/errors.ts'

const maxCursorLength = 200
const maxPageSize = 100

/** Query of a route that lists: `cursor` is the page before's `nextCursor`, `limit` is at most 100 and 20 by default. */
export const pageQuery = z.strictObject({
  cursor: z.string().min(1).max(maxCursorLength).optional(),
  limit: z.coerce.number().int().min(1).max(maxPageSize).default(20),
})

/** @public */
export type PageQuery = z.output<typeof pageQuery>

/**
 * One page of items. `nextCursor` is null on the last page.
 * @public
 */
export function pageOf<Item extends z.ZodType>(item: Item) {
  return z.strictObject({ items: z.array(item), nextCursor: z.string().nullable() })
}

export interface Page<Item> {
  items: Item[]
  nextCursor: string | null
}

/**
 * Where a page ended, as one opaque word. It holds the last row's sort key rather than an offset: rows that come or go
 * meanwhile neither repeat nor hide others, and page 1,000 costs what page 1 does.
 */
export function encodeCursor(key: unknown[]): string {
  return Buffer.from(JSON.stringify(key)).toString('base64url')
}

/**
 * Throws `E_VALIDATION` for anything that `encodeCursor` cannot have made of such a key.
 * @public
 */
export function decodeCursor<Key extends z.ZodType>(cursor: string, key: Key): z.output<Key> {
  const parsed = key.safeParse(parseJson(Buffer.from(cursor, 'base64url').toString()))
  if (!parsed.success)
    throw kitErrors.E_VALIDATION({ fields: { 'query.cursor': 'use a nextCursor of an earlier page' } })
  return parsed.data
}

const earliest = Date.parse('0001-01-01T00:00:00.000Z')

/**
 * For keys: a time as `toISOString` writes it, which has another form after the year 9999.
 * @public
 */
export const instantKey = z
  .string()
  .regex(/^(\d{4}|\+\d{6})-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/)
  .transform((text) => new Date(text))
  .refine((at) => at.getTime() >= earliest) // not a number either

/**
 * For keys: a day that Postgres can read.
 * @public
 */
export const dayKey = z.iso.date().refine((day) => day >= '0001-01-01')

/**
 * Makes a page. `rows`: one more than `limit`, which shows whether there is a next page.
 * @public
 */
export function toPage<Row, Item>(rows: Row[], limit: number, item: (row: Row) => Item, key: (row: Row) => unknown[]) {
  const shown = rows.slice(0, limit)
  const last = rows.length > limit ? shown.at(-1) : undefined
  const page: Page<Item> = { items: shown.map(item), nextCursor: last === undefined ? null : encodeCursor(key(last)) }
  return page
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
