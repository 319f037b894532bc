import type { Sql } from './postgres.ts'

const batch = 1000

/**
 * Deletes the rows whose `column` is older than that, and returns the count. In batches, so that no statement
 * comes near its timeout. `table` and `column` go into the statement as they are.
 */
export async function deleteOlderThan(sql: Sql, table: string, column: string, olderThanMs: number): Promise<number> {
  const statement = {
    name: `delete-older-${table}-${column}`,
    text: `DELETE FROM ${table} WHERE ctid = ANY (ARRAY(
      SELECT ctid FROM ${table} WHERE ${column} < now() - $1 * interval '1 millisecond' LIMIT ${batch}
      FOR UPDATE SKIP LOCKED))`,
  }
  let deleted = 0
  while (true) {
    const { rowCount } = await sql.query(statement, [olderThanMs])
    deleted += rowCount
    if (rowCount < batch) return deleted
  }
}
