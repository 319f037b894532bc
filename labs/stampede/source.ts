import { randomUUID } from 'node:crypto'
import pg from 'pg'

export interface Source {
  /** A new show, which no cache has. */
  add(): Promise<string>
  loads(): Promise<number>
  /** Makes each load take so long from now on. */
  take(ms: number): Promise<void>
  /** Whose load is running: a replica's id. */
  loader(): Promise<string | undefined>
  stop(): Promise<void>
}

/**
 * Makes the database itself slow, and lets it count: details of shows come from a view whose column `name` takes its time.
 * The replicas know nothing of it. To be called before any of them has read a show.
 */
export async function slowDown(databaseUrl: string, ms: number): Promise<Source> {
  const client = new pg.Client({ connectionString: databaseUrl })
  await client.connect()
  const slow = (takesMs: number) => `
    CREATE OR REPLACE FUNCTION lab_slow(name text) RETURNS text LANGUAGE plpgsql STABLE AS $$
    BEGIN
      PERFORM nextval('lab_loads'), pg_sleep(${takesMs} / 1000.0);
      RETURN name;
    END $$;`
  await client.query(`
    CREATE SEQUENCE lab_loads;
    ${slow(ms)}
    ALTER TABLE shows RENAME TO shows_table;
    CREATE VIEW shows AS SELECT id, lab_slow(name) AS name, starts_at, price_cents, currency, capacity, available,
      version, revision FROM shows_table`)
  const value = async <T>(text: string) => Object.values((await client.query(text)).rows[0] ?? {})[0] as T | undefined
  return {
    async add() {
      const id = randomUUID()
      await client.query(
        `INSERT INTO shows_table (id, name, starts_at, price_cents, currency, capacity, available)
          VALUES ($1, 'Gig', '2030-01-01', 1000, 'EUR', 10, 10)`,
        [id],
      )
      return id
    },
    loads: async () => Number(await value('SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM lab_loads')),
    take: async (takesMs) => void (await client.query(slow(takesMs))),
    loader: () => value(`SELECT application_name FROM pg_stat_activity WHERE wait_event = 'PgSleep' LIMIT 1`),
    stop: () => client.end(),
  }
}
