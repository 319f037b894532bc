CREATE TABLE users (
  id            uuid PRIMARY KEY,
  -- As it was typed; one account for one address, whatever the letter case.
  email         text NOT NULL,
  name          text NOT NULL,
  -- Names its own parameters, so that they can be raised later.
  password_hash text NOT NULL,
  role          text NOT NULL DEFAULT 'customer' CHECK (role IN ('customer', 'organiser')),
  created_at    timestamptz NOT NULL DEFAULT now()
);

CREATE UNIQUE INDEX users_email_key ON users (lower(email));
