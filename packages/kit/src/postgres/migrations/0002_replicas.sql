-- One row for each live process; see packages/kit/src/replicas.
CREATE TABLE replicas (
  id text PRIMARY KEY,
  -- One start of one process: tells a replica from its own dead predecessor of the same id.
  incarnation uuid NOT NULL,
  role text NOT NULL CHECK (role IN ('api', 'worker')),
  version text NOT NULL,
  scopes jsonb NOT NULL,
  secret_fingerprints text[] NOT NULL,
  schedules text[] NOT NULL,
  pool_size integer NOT NULL,
  clock_offset_ms double precision NOT NULL DEFAULT 0,
  admitted boolean NOT NULL,
  started_at timestamptz NOT NULL,
  heartbeat_at timestamptz NOT NULL
);
