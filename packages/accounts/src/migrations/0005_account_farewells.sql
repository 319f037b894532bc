-- Addresses of deleted accounts, until the mail that confirms the deletion is sent: in no message, no job and no dead letter.
CREATE TABLE account_farewells (
  id         uuid PRIMARY KEY,
  email      text NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now()
);

CREATE INDEX account_farewells_created_at ON account_farewells (created_at);
