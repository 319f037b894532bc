import type { Postgres, Statement } from '@escala/kit/postgres/postgres'

/** The same database, noting what is asked of it: the names of statements, or their text where they have none; `BEGIN` and `COMMIT`. */
export function countStatements(postgres: Postgres): { postgres: Postgres; asked: string[] } {
  const asked: string[] = []
  const note = (statement: string | Statement) => {
    asked.push(typeof statement === 'string' ? statement : statement.name)
  }
  return {
    asked,
    postgres: {
      ...postgres,
      query(statement, values) {
        note(statement)
        return postgres.query(statement, values)
      },
      transaction: (work, options) =>
        postgres.transaction(async (tx) => {
          asked.push('BEGIN')
          const result = await work({
            query(statement, values) {
              note(statement)
              return tx.query(statement, values)
            },
          })
          asked.push('COMMIT')
          return result
        }, options),
    },
  }
}
