import { withClient } from '@escala/testing/test-database'

export interface Size {
  users: number
  shows: number
  orders: number
  /** Orders that are not settled yet, as while the provider is down. */
  unsettled: number
  /** Messages of the outbox that wait, and as many that were published. */
  messages: number
  keys: number
}

/** An id of what an expression says: valid, always the same, and nowhere near its neighbours'. */
export const uuid = (expression: string) =>
  `overlay(overlay(md5(${expression}) placing '4' from 13) placing '8' from 17)::uuid`

/** Fills a migrated database as it would be after years. Ids are hashes, so that rows that belong together lie apart. */
export async function fill(databaseUrl: string, size: Size, report: (what: string) => void): Promise<void> {
  await withClient(databaseUrl, async (client) => {
    await client.query(`SET statement_timeout = 0; SET lock_timeout = 0; SET synchronous_commit = off;
      SET maintenance_work_mem = '256MB'; SET max_parallel_maintenance_workers = 0;
      SET session_replication_role = replica`) // neither foreign keys nor triggers: the rows are right
    const add = async (what: string, text: string) => {
      report(what)
      await client.query(text)
    }
    const indexes = await dropIndexes((text) => client.query(text), ['orders', 'outbox', 'idempotency_keys'])
    const { users, shows, orders, unsettled, messages, keys } = size
    await add(
      `${users} users`,
      `INSERT INTO users (id, email, name, password_hash) SELECT ${uuid(`'user' || n`)}, 'user' || n || '@example.com', 'User', 'x'
       FROM generate_series(1, ${users}) AS n`,
    )
    await add(
      `${shows} shows`,
      `INSERT INTO shows (id, name, starts_at, price_cents, currency, capacity, available)
       SELECT ${uuid(`'show' || n`)}, 'Show ' || n, now() + n * interval '1 hour', 2500, 'EUR', 1000000, 900000
       FROM generate_series(1, ${shows}) AS n`,
    )
    await add(
      'a code for each user',
      `INSERT INTO account_codes (hash, user_id, purpose, created_at)
       SELECT sha256(n::text::bytea), ${uuid(`'user' || n`)}, 'password-reset', now() - n * interval '0.1 seconds'
       FROM generate_series(1, ${users}) AS n`,
    )
    const order = `${uuid(`'order' || n`)}, ${uuid(`'user' || 1 + n * 7919 % ${users}`)}, ${uuid(`'show' || 1 + n * 104729 % ${shows}`)}, 1 + n % 4, 2500, 'EUR', 'r'`
    const columns =
      'id, user_id, show_id, quantity, total_cents, currency, request_id, status, hold_until, charge_id, paid_at, created_at, touched_at'
    await add(
      `${orders} orders, a tenth of them of the last week`,
      `INSERT INTO orders (${columns})
       SELECT ${order}, CASE WHEN n % 20 = 0 THEN 'expired' WHEN n % 20 = 1 THEN 'cancelled' ELSE 'confirmed' END, at, 'ch',
         CASE WHEN n % 20 = 0 THEN NULL ELSE at END, at, at
       FROM generate_series(1::bigint, ${orders - unsettled}) AS n,
         LATERAL (SELECT now() - CASE WHEN n % 10 = 0 THEN n % 10007 * interval '1 minute' ELSE n % 524287 * interval '1 minute' END AS at) AS time`,
    )
    await add(
      `${unsettled} orders that are not settled`,
      `INSERT INTO orders (${columns})
       SELECT ${order}, CASE WHEN n % 10 = 0 THEN 'charging' WHEN n % 10 = 1 THEN 'paid' ELSE 'pending' END,
         now() + interval '15 minutes', NULL, CASE WHEN n % 10 = 1 THEN now() END, now(), now()
       FROM generate_series(${orders - unsettled + 1}::bigint, ${orders}) AS n`,
    )
    const message = `'order.charge', ${uuid(`'order' || n`)}::text, '{"version":1}', 'r'`
    await add(
      `${messages} messages that wait, and as many that were published`,
      `INSERT INTO outbox (type, aggregate, payload, request_id, published_at)
       SELECT ${message}, CASE WHEN n % 2 = 0 THEN now() - n * interval '0.8 seconds' END
       FROM generate_series(1::bigint, ${2 * messages}) AS n`,
    )
    await add(
      `${keys} idempotency keys`,
      `INSERT INTO idempotency_keys (owner, key, fingerprint, status, body, created_at)
       SELECT ${uuid(`'user' || n % ${users}`)}::text, 'key-' || n, repeat('f', 43), 201, '{"id":1}', now() - n * interval '1 second'
       FROM generate_series(1::bigint, ${keys}) AS n`,
    )
    await add(
      'sales reports of a year',
      `INSERT INTO sales_reports (day, show_id, show_name, currency, orders, tickets, total_cents)
       SELECT (now() - d * interval '1 day')::date, ${uuid(`'show' || n`)}, 'Show', 'EUR', 1, 1, 2500
       FROM generate_series(1, 365) AS d, generate_series(1, 200) AS n`,
    )
    for (const text of indexes) await add(text.replace(/^CREATE (UNIQUE )?INDEX (\S+).*/, 'index $2'), text)
    await add('statistics', 'VACUUM (ANALYZE)')
  })
}

/** Drops the indexes that no constraint needs; returns how to make them again, which takes less time than to fill them row by row. */
async function dropIndexes(
  query: (text: string) => Promise<{ rows: { name: string; text: string }[] }>,
  tables: string[],
) {
  const { rows } = await query(
    `SELECT indexrelid::regclass::text AS name, pg_get_indexdef(indexrelid) AS text FROM pg_index
     WHERE indrelid = ANY ('{${tables.join(',')}}'::regclass[])
       AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid)`,
  )
  for (const { name } of rows) await query(`DROP INDEX ${name}`)
  return rows.map(({ text }) => text)
}
