-- What was paid on one day (UTC) for one show, less what was cancelled since.
CREATE TABLE sales_reports (
  day date NOT NULL,
  show_id uuid NOT NULL REFERENCES shows (id),
  show_name text NOT NULL,
  currency text NOT NULL,
  orders integer NOT NULL,
  tickets integer NOT NULL,
  total_cents bigint NOT NULL,
  computed_at timestamptz NOT NULL DEFAULT now(),
  -- A report that is made twice is the same report.
  PRIMARY KEY (day, show_id, currency)
);
