-- One row per show, and it is hot: every order updates `available`. The free half of each page keeps those updates
-- on the page (HOT), with no index to touch.
CREATE TABLE shows (
  id uuid PRIMARY KEY,
  name text NOT NULL,
  starts_at timestamptz NOT NULL,
  price_cents integer NOT NULL CHECK (price_cents >= 0),
  currency text NOT NULL,
  capacity integer NOT NULL CHECK (capacity > 0),
  available integer NOT NULL,
  -- Counts changes by an organiser; a sale changes `available` only.
  version integer NOT NULL DEFAULT 1,
  -- The last line of defence: whatever the code does, no ticket is sold twice.
  CONSTRAINT shows_available CHECK (available BETWEEN 0 AND capacity)
) WITH (fillfactor = 50);

CREATE INDEX shows_by_start ON shows (starts_at, id);
