import type { Session } from './session.ts'

// CREATE [UNIQUE] INDEX CONCURRENTLY [IF NOT EXISTS] name ON [ONLY] [schema.]table
const name = '(?:"(?:[^"]|"")+"|[a-z_\\x80-\\uffff][\\w$\\x80-\\uffff]*)'
const create = new RegExp(
  `^\\s*CREATE\\s+(?:UNIQUE\\s+)?INDEX\\s+CONCURRENTLY\\s+(?:IF\\s+NOT\\s+EXISTS\\s+)?(?<index>${name})??\\s*\\bON\\s+(?:ONLY\\s+)?(?:(?<schema>${name})\\s*\\.)?`,
  'i',
)
const comments = /--[^\n]*|\/\*[\s\S]*?\*\//g

/** Returns whether the statement waits for others without letting others wait behind it. */
export function isConcurrent(text: string): boolean {
  return /^\s*(CREATE\s+(UNIQUE\s+)?INDEX|DROP\s+INDEX|REINDEX\b[^;]*?)\s+CONCURRENTLY\b/i.test(
    text.replace(comments, ''),
  )
}

/** Returns the name of the index that the statement builds, with its schema if it has one, quoted as in the statement. */
export function builtIndex(text: string): string | undefined {
  const found = create.exec(text.replace(comments, ''))
  if (!found) return undefined
  const { index, schema } = found.groups ?? {}
  // What Postgres calls it could not be found again after a crash.
  if (index === undefined) throw new Error('an index that is built CONCURRENTLY needs a name')
  return schema === undefined ? index : `${schema}.${index}`
}

/** An index whose build was interrupted: no plan uses it, but every write keeps it up to date. */
export async function isInvalid(session: Session, index: string): Promise<boolean> {
  const { rows } = await session.query('SELECT indisvalid AS valid FROM pg_index WHERE indexrelid = to_regclass($1)', [
    index,
  ])
  return rows[0]?.valid === false
}

export async function dropInvalid(session: Session, index: string): Promise<void> {
  if (await isInvalid(session, index)) await session.query(`DROP INDEX CONCURRENTLY IF EXISTS ${index}`)
}
