import { setTimeout as wait } from 'node:timers/promises'
import pg from 'pg'

export interface Gate {
  /** The next load by that replica keeps what it reads to itself, until `open`. */
  close(replicaId: string): Promise<void>
  /** Resolves when such a load has begun. */
  waits(): Promise<void>
  open(): Promise<void>
  stop(): Promise<void>
}

const lock = 815

/** Puts a gate into the database itself: a view that looks like the table. To be called before any replica has read a show. */
export async function gateLoads(databaseUrl: string): Promise<Gate> {
  const client = new pg.Client({ connectionString: databaseUrl })
  await client.connect()
  await client.query(`
    CREATE SEQUENCE lab_loads;
    CREATE TABLE lab_gates (replica text);
    INSERT INTO lab_gates VALUES ('');
    CREATE FUNCTION lab_gate() RETURNS boolean LANGUAGE plpgsql VOLATILE AS $$
    BEGIN
      IF current_query() LIKE 'SELECT id, name%' AND current_setting('application_name') = (SELECT replica FROM lab_gates)
        AND nextval('lab_loads') = 1 THEN
        PERFORM pg_advisory_lock_shared(${lock});
        PERFORM pg_advisory_unlock_shared(${lock});
      END IF;
      RETURN true;
    END $$;
    ALTER TABLE shows RENAME TO shows_table;
    CREATE VIEW shows AS SELECT id, name, starts_at, price_cents, currency, capacity, available, version, revision
      FROM shows_table WHERE lab_gate()`)
  return {
    async close(replicaId) {
      await client.query('UPDATE lab_gates SET replica = $1', [replicaId])
      await client.query(`SELECT pg_advisory_lock(${lock}), setval('lab_loads', 1, false)`)
    },
    async waits() {
      const text = `SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'advisory'`
      for (const end = performance.now() + 5000; (await client.query(text)).rowCount === 0; await wait(5)) {
        if (performance.now() > end) throw new Error('no load has come to the gate within 5 s')
      }
    },
    open: async () => void (await client.query(`SELECT pg_advisory_unlock(${lock})`)),
    stop: () => client.end(),
  }
}
