CREATE TABLE placeholders_items (
  id           uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  user_id      uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
  name         text NOT NULL,
  created_at   timestamptz NOT NULL DEFAULT now(),
  -- When the job has done its work; until then, it has not.
  processed_at timestamptz
);

CREATE INDEX placeholders_items_of_user ON placeholders_items (user_id, created_at DESC);
