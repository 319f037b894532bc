import type { Postgres, Sql, Statement } from '@escala/kit/postgres/postgres'
import pg from 'pg'

export interface Finding {
  name: string
  plan: 'custom' | 'generic'
  ms: number
  /** Pages that it read. */
  pages: number
  /** Large tables that it scans, and filters that throw away many rows. */
  scans: string[]
}

export interface Limits {
  /** Milliseconds, by statement; `default` for all others. */
  ms(name: string): number
  /** Rows of a table that may be scanned, and that a filter may throw away. */
  rows: number
}

interface Node {
  'Node Type': string
  'Relation Name'?: string
  'Index Name'?: string
  'Rows Removed by Filter'?: number
  'Actual Loops': number
  Plans?: Node[]
}

interface Explained {
  'Execution Time': number
  Plan: Node & { 'Shared Hit Blocks': number; 'Shared Read Blocks': number }
}

// Named statements get a generic plan after five runs, if that looks no worse.
const plans = ['custom', 'generic'] as const
const maxTries = 12
const leastTries = 3

/**
 * Explains each named statement before it runs, in the transaction in which it runs, with both kinds of plans; undoes what
 * explaining has changed, and lets the statement run. So every user of the database finds what the product would find.
 */
export function createExplainer(limits: Limits) {
  const findings: Finding[] = []
  const large = new Map<string, number>()
  let isOn = false
  let prepared = 0

  /** The best of some runs: a busy machine makes one slower, and none faster. */
  const explain = async (tx: Sql, { name, text }: Statement, values: unknown[], plan: Finding['plan']) => {
    const id = `explained_${++prepared}`
    let best: Explained | undefined
    await tx.query('SAVEPOINT explaining')
    await tx.query(`SET LOCAL plan_cache_mode = force_${plan}_plan`)
    await tx.query(`PREPARE ${id} AS ${text}`)
    const execute = `EXECUTE ${id}${values.length > 0 ? `(${values.map(literal).join(', ')})` : ''}`
    for (let tries = 1; tries <= maxTries; tries++) {
      await tx.query('SAVEPOINT run')
      const { rows } = await tx.query<{ 'QUERY PLAN': [Explained] }>(
        `EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) ${execute}`,
      )
      await tx.query('ROLLBACK TO SAVEPOINT run')
      const run = (rows[0] as { 'QUERY PLAN': [Explained] })['QUERY PLAN'][0]
      if (best === undefined || run['Execution Time'] < best['Execution Time']) best = run
      if (tries >= leastTries && best['Execution Time'] <= limits.ms(name)) break
    }
    await tx.query('ROLLBACK TO SAVEPOINT explaining')
    await tx.query(`DEALLOCATE ${id}`)
    const { Plan, 'Execution Time': ms } = best as Explained
    findings.push({
      name,
      plan,
      ms,
      pages: Plan['Shared Hit Blocks'] + Plan['Shared Read Blocks'],
      scans: [...scansOf(Plan)],
    })
  }

  function* scansOf(node: Node): Generator<string> {
    const { 'Node Type': type, 'Relation Name': table = '', 'Rows Removed by Filter': removed = 0 } = node
    if (type === 'Seq Scan' && (large.get(table) ?? 0) > limits.rows) yield `scans ${table}`
    if (removed * node['Actual Loops'] > limits.rows)
      yield `throws away ${removed * node['Actual Loops']} rows of ${table}`
    for (const child of node.Plans ?? []) yield* scansOf(child)
  }

  const look = async (tx: Sql, statement: string | Statement, values: unknown[] = []) => {
    if (!isOn || typeof statement === 'string') return
    for (const plan of plans) await explain(tx, statement, values, plan)
  }

  const around = (postgres: Postgres): Postgres => ({
    ...postgres,
    async query(statement, values) {
      if (isOn && typeof statement !== 'string') await postgres.transaction((tx) => look(tx, statement, values))

      return postgres.query(statement, values)
    },
    transaction: (work, options) =>
      postgres.transaction(
        (tx) =>
          work({
            async query(statement, values) {
              await look(tx, statement, values)
              return tx.query(statement, values)
            },
          }),
        options,
      ),
  })
  return {
    around,
    findings,
    /** From now on; `sql` knows how large the tables are. */
    async start(sql: Sql): Promise<void> {
      const { rows } = await sql.query<{ name: string; rows: number }>(
        `SELECT relname AS name, reltuples::float8 AS rows FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace`,
      )
      for (const { name, rows: count } of rows) large.set(name, count)
      isOn = true
    },
  }
}

/** A value as `pg` would send it, as a part of a statement. */
function literal(value: unknown): string {
  if (value === null || value === undefined) return 'NULL'
  if (Array.isArray(value)) return pg.escapeLiteral(`{${value.map(element).join(',')}}`)
  if (value instanceof Date) return pg.escapeLiteral(value.toISOString())
  if (value instanceof Uint8Array) return pg.escapeLiteral(`\\x${Buffer.from(value).toString('hex')}`)
  return pg.escapeLiteral(typeof value === 'object' ? JSON.stringify(value) : String(value))
}

const element = (value: unknown) =>
  value === null || value === undefined ? 'NULL' : `"${String(value).replace(/[\\"]/g, '\\$&')}"`
