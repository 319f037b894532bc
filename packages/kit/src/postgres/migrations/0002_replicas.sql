-- One row for each live process; see packages/kit/src/replicas.
CREATE TABLE replicas (
  -- One start of one process: tells a replica from its predecessor of the same id, which may drain or be dead.
  incarnation uuid PRIMARY KEY,
  id text NOT NULL,
  role text NOT NULL CHECK (role IN ('api', 'worker')),
  version text NOT NULL,
  scopes jsonb NOT NULL,
  secret_fingerprints text[] NOT NULL,
  schedules text[] NOT NULL,
  -- Alive while the heartbeat is younger than this, by the database's clock.
  ttl_ms integer NOT NULL,
  pool_size integer NOT NULL,
  admitted boolean NOT NULL,
  clock_offset_ms double precision NOT NULL,
  started_at timestamptz NOT NULL,
  heartbeat_at timestamptz NOT NULL
);
