-- For machines that act for a user. The secret itself is shown once, and is not here.
CREATE TABLE access_tokens (
  id         uuid PRIMARY KEY,
  user_id    uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
  name       text NOT NULL,
  scopes     text[] NOT NULL,
  hash       bytea NOT NULL,
  expires_at timestamptz NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  CONSTRAINT access_tokens_hash UNIQUE (hash)
);

CREATE INDEX access_tokens_of_user ON access_tokens (user_id, id);
CREATE INDEX access_tokens_expires_at ON access_tokens (expires_at);
