-- Small files that every replica can read. Images are compressed already, so Postgres need not try (EXTERNAL), and they lie
-- beside the table, not in it: reading the other columns does not touch them.
CREATE TABLE uploads (
  key          text PRIMARY KEY,
  content_type text NOT NULL,
  tag          text NOT NULL,
  data         bytea NOT NULL,
  updated_at   timestamptz NOT NULL DEFAULT now()
);

ALTER TABLE uploads ALTER COLUMN data SET STORAGE EXTERNAL;
