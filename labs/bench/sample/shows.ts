import { randomUUID } from 'node:crypto'
import { withClient } from '@escala/testing/test-database'

/** Adds shows with as many tickets as a show may have, more than a run sells; returns their ids. */
export function addShows(databaseUrl: string, count: number): Promise<string[]> {
  const ids = Array.from({ length: count }, () => randomUUID())
  return withClient(databaseUrl, async (client) => {
    await client.query(
      `INSERT INTO shows (id, name, starts_at, price_cents, currency, capacity, available)
      SELECT unnest($1::uuid[]), 'Bench Night', now() + interval '30 days', 1000, 'EUR', 1000000, 1000000`,
      [ids],
    )
    return ids
  })
}
