-- Only what differs from the default that the code declares.
CREATE TABLE flags (
  name       text PRIMARY KEY,
  value      jsonb NOT NULL,
  updated_at timestamptz NOT NULL DEFAULT now()
);
