import type { Client } from '@escala/testing/client'
import type { Cluster } from '@escala/testing/cluster'
import { withClient } from '@escala/testing/test-database'
import { order } from '../shop.ts'
import { createSeen } from './buyers.ts'

// Postgres counts a sequence also for what it then refuses, so every fifth order meets a conflict, and its repeat meets none.
const begin = `
  CREATE SEQUENCE lab_conflicts;
  CREATE FUNCTION lab_conflict() RETURNS trigger LANGUAGE plpgsql AS $$
  BEGIN
    IF nextval('lab_conflicts') % 5 = 0 THEN
      RAISE EXCEPTION 'could not serialize access' USING ERRCODE = '40001';
    END IF;
    RETURN NEW;
  END $$;
  CREATE TRIGGER lab_conflict BEFORE INSERT ON orders FOR EACH ROW EXECUTE FUNCTION lab_conflict()`

/** Orders that are in conflict with others now and then. Returns what was said that is neither 201 nor 503, and the number of 201. */
export async function orderInConflict({ databaseUrl }: Cluster, buyer: Client, show: string) {
  const seen = createSeen()
  let accepted = 0
  await withClient(databaseUrl, async (client) => {
    await client.query(begin)
    for (let n = 0; n < 15; n++) if ((await seen.see(order(buyer, show))).status === 201) accepted++
    await client.query('DROP TRIGGER lab_conflict ON orders')
  })
  return { wrong: seen.wrong(), accepted }
}
