-- Modules declare the roles, so the database takes any name; a user may have none. The version before reads and writes what it
-- did: it takes whatever is not 'organiser' for a user without that role.
ALTER TABLE users
  DROP CONSTRAINT users_role_check,
  ALTER COLUMN role DROP NOT NULL,
  ALTER COLUMN role DROP DEFAULT;
