ALTER TABLE users
  -- Counts changes of the password: a log-in that checked the old one at the same time finds out.
  ADD COLUMN password_version integer NOT NULL DEFAULT 0,
  ADD COLUMN email_verified_at timestamptz;

-- What a mail lets its reader do, once. The secret itself is in the mail only.
CREATE TABLE account_codes (
  hash       bytea PRIMARY KEY,
  user_id    uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
  purpose    text NOT NULL CHECK (purpose IN ('password-reset', 'email-verification')),
  created_at timestamptz NOT NULL DEFAULT now()
);

CREATE INDEX account_codes_of_user ON account_codes (user_id, purpose, created_at);
CREATE INDEX account_codes_created_at ON account_codes (created_at);
