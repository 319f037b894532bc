import type { Sql, Statement } from '../postgres/postgres.ts'
import type { ReplicaRow, Self } from './replica.ts'

// Whether a row is alive is for the database's clock to say, and each row brings its own time-to-live.
const isAlive = (row: string) => `${row}.heartbeat_at > clock_timestamp() - ${row}.ttl_ms * interval '1 ms'`
const alive = isAlive('replicas')
const columns = `incarnation, id, role, version, scopes, secret_fingerprints AS "secretFingerprints", schedules,
  pool_size AS "poolSize", clock_offset_ms AS "clockOffsetMs", admitted, started_at AS "startedAt", heartbeat_at AS "heartbeatAt"`

/** One starter at a time; ends with the transaction. */
export async function lockRegistry(tx: Sql): Promise<void> {
  await tx.query(`SELECT pg_advisory_xact_lock(hashtext('escala.replicas'))`)
}

export async function listAlive(sql: Sql): Promise<ReplicaRow[]> {
  const { rows } = await sql.query<ReplicaRow>(
    `SELECT ${columns} FROM replicas WHERE ${alive} ORDER BY started_at, incarnation`,
  )
  return rows
}

export interface NewRow extends Self {
  incarnation: string
  ttlMs: number
  poolSize: number
  admitted: boolean
  clockOffsetMs: number
}

export async function writeRow(tx: Sql, row: NewRow): Promise<void> {
  // Remove rows whose heartbeat is more than an hour old.
  await tx.query(`DELETE FROM replicas WHERE heartbeat_at < clock_timestamp() - interval '1 hour'`)
  await tx.query(
    `INSERT INTO replicas (incarnation, id, role, version, scopes, secret_fingerprints, schedules, ttl_ms, pool_size, admitted,
       clock_offset_ms, started_at, heartbeat_at)
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, clock_timestamp(), clock_timestamp())
     ON CONFLICT (incarnation) DO UPDATE SET admitted = excluded.admitted, pool_size = excluded.pool_size, found_dead = false,
       clock_offset_ms = excluded.clock_offset_ms, heartbeat_at = excluded.heartbeat_at`,
    [
      row.incarnation,
      row.id,
      row.role,
      row.version,
      JSON.stringify(row.scopes),
      row.secretFingerprints,
      row.schedules,
      row.ttlMs,
      row.poolSize,
      row.admitted,
      row.clockOffsetMs,
    ],
  )
}

export interface Beat {
  /** `false`: the row is gone or was given up for dead, and its place may belong to another process. */
  known: boolean
  /** How often each table has changed; see `Changes`. */
  revisions: Record<string, number>
  /** Whether the process that this one watches has been silent for its time-to-live, and that has not been found out yet. */
  neighbourIsDead: boolean
  /** The database's clock less this process's. */
  clockOffsetMs: number
}

// By its name: parsing and planning it takes several times as long as running it.
const beatStatement: Statement = {
  name: 'replicas-beat',
  text: `WITH beaten AS (
      UPDATE replicas SET heartbeat_at = clock_timestamp(), clock_offset_ms = $2 WHERE incarnation = $1 AND ${alive}
      RETURNING incarnation)
    SELECT EXISTS (SELECT FROM beaten) AS known, extract(epoch FROM clock_timestamp())::float8 * 1000 AS now,
      (SELECT coalesce(jsonb_object_agg(table_name, revision), '{}') FROM changes) AS revisions,
      coalesce(
        (SELECT NOT (${alive}) FROM replicas WHERE incarnation > $1 AND NOT found_dead ORDER BY incarnation LIMIT 1),
        (SELECT NOT (${alive}) FROM replicas WHERE incarnation < $1 AND NOT found_dead ORDER BY incarnation LIMIT 1),
        false) AS "neighbourIsDead"`,
}

/**
 * Renews the heartbeat in one statement, which reads as much for 300 processes as for 3: this row, that of a neighbour, and the
 * number of changes. Processes watch each other in a ring, each the one whose incarnation comes next, so that of those who
 * died, one process finds the first, and a process that finds one looks for all (`markDead`).
 */
export async function beat(sql: Sql, incarnation: string, clockOffsetMs: number): Promise<Beat> {
  const before = Date.now()
  const { rows } = await sql.query<Omit<Beat, 'clockOffsetMs'> & { now: number }>(beatStatement, [
    incarnation,
    clockOffsetMs,
  ])
  const { now = before, ...found } = rows[0] ?? { known: false, revisions: {}, neighbourIsDead: false }
  return { ...found, clockOffsetMs: now - (before + Date.now()) / 2 }
}

/** Marks all processes that have been silent for a time-to-live, which counts as a change. Only a process that has found one calls it. */
export async function markDead(sql: Sql): Promise<void> {
  await sql.query(
    `UPDATE replicas SET found_dead = true WHERE incarnation IN (
       SELECT incarnation FROM replicas WHERE NOT found_dead AND NOT (${alive}) FOR UPDATE SKIP LOCKED)`,
  )
}

/** API replicas that live and have a place. */
export async function countLiveApis(sql: Sql): Promise<number> {
  const { rows } = await sql.query<{ apis: number }>(
    `SELECT count(*)::int AS apis FROM replicas WHERE role = 'api' AND admitted AND ${alive}`,
  )
  return rows[0]?.apis ?? 1
}

export async function deleteRow(sql: Sql, incarnation: string): Promise<void> {
  await sql.query('DELETE FROM replicas WHERE incarnation = $1', [incarnation])
}

/** The database's clock less this process's, taken in the middle of the round trip. */
export async function measureClockOffset(sql: Sql): Promise<number> {
  const before = Date.now()
  const { rows } = await sql.query<{ now: number }>(
    `SELECT extract(epoch FROM clock_timestamp())::float8 * 1000 AS now`,
  )
  return (rows[0]?.now ?? before) - (before + Date.now()) / 2
}

/**
 * Ends the connections of processes that have missed their heartbeats: one that is paused, or that the network cut off, cannot
 * end them itself, and its place is given to another process. Returns how many there were.
 */
export async function endAbandoned(sql: Sql): Promise<number> {
  // A living process can have the id of a dead one: what is younger than the last heartbeat may belong to it. What began after
  // the heartbeat had expired is a registry that asks for a place, as all of them do after an outage.
  const { rowCount } = await sql.query(
    `SELECT pg_terminate_backend(backend.pid, 500) FROM pg_stat_activity AS backend JOIN replicas AS dead
       ON backend.application_name IN (left(dead.id, 63), left(dead.id || ' registry', 63), left(dead.id || ' listener', 63))
     WHERE NOT (${isAlive('dead')}) AND backend.datname = current_database() AND backend.usename = current_user
       AND backend.pid <> pg_backend_pid() AND (backend.backend_start <= dead.heartbeat_at
         OR backend.backend_start <= dead.heartbeat_at + dead.ttl_ms * interval '1 ms' AND NOT EXISTS (SELECT FROM replicas AS heir WHERE left(heir.id, 63) = left(dead.id, 63) AND heir.incarnation <> dead.incarnation AND ${isAlive('heir')}))`,
  )
  return rowCount
}

export interface ServerConnections {
  /** The least of what the server lets ordinary roles open and what this role and this database may have. */
  allows: number
  allowedBy: 'server' | 'role' | 'database'
  /** Connections that exist now, of all processes. */
  open: number
}

export async function serverConnections(sql: Sql): Promise<ServerConnections> {
  // A limit of a role or a database does not hold for superusers; -1 is none.
  const { rows } = await sql.query<ServerConnections>(
    `SELECT allows, "allowedBy", (SELECT count(*)::int FROM pg_stat_activity WHERE backend_type = 'client backend') AS open
     FROM (
       SELECT current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
         - coalesce(current_setting('reserved_connections', true)::int, 0) AS allows, 'server' AS "allowedBy"
       UNION ALL SELECT rolconnlimit, 'role' FROM pg_roles
         WHERE rolname = session_user AND rolconnlimit >= 0 AND NOT rolsuper
       UNION ALL SELECT datconnlimit, 'database' FROM pg_database, pg_roles
         WHERE datname = current_database() AND datconnlimit >= 0 AND rolname = session_user AND NOT rolsuper
     ) AS limits ORDER BY allows LIMIT 1`,
  )
  return rows[0] ?? { allows: 0, allowedBy: 'server', open: 0 }
}
