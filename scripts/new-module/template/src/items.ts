import type { Sql, Statement } from '@escala/kit/postgres/postgres'
import { z } from 'zod'

export const item = z.strictObject({ id: z.uuid(), name: z.string(), processed: z.boolean() })

type Item = z.output<typeof item>

const columns = 'id, name, processed_at IS NOT NULL AS processed'

// Each statement has a name of its own, and one name always has the same text.
const insert: Statement = {
  name: 'placeholders-create',
  text: `INSERT INTO placeholders_items (user_id, name) VALUES ($1, $2) RETURNING ${columns}`,
}

const select: Statement = {
  name: 'placeholders-list',
  text: `SELECT ${columns} FROM placeholders_items WHERE user_id = $1 ORDER BY created_at DESC LIMIT 100`,
}

// The condition makes it safe to run twice.
const process: Statement = {
  name: 'placeholders-process',
  text: 'UPDATE placeholders_items SET processed_at = now() WHERE id = $1 AND processed_at IS NULL',
}

export async function createItem(sql: Sql, userId: string, name: string): Promise<Item> {
  const { rows } = await sql.query<Item>(insert, [userId, name])
  return rows[0] as Item
}

/** The user's newest items, at most 100. */
export async function listItems(sql: Sql, userId: string): Promise<Item[]> {
  return (await sql.query<Item>(select, [userId])).rows
}

/** Returns whether this call did it; `false` if it was done before, or if the item is gone. */
export async function processItem(sql: Sql, id: string): Promise<boolean> {
  return (await sql.query(process, [id])).rowCount === 1
}
