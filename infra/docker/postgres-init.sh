#!/bin/sh
# Runs by itself on an empty data folder; may run again: docker compose exec postgres sh /docker-entrypoint-initdb.d/escala.sh
# One role owns the database and migrates, another one serves: it reads and writes rows, and cannot change a table.
set -eu
psql -v ON_ERROR_STOP=1 -U postgres -v owner_password="$DATABASE_OWNER_PASSWORD" -v password="$DATABASE_PASSWORD" <<'SQL'
SELECT 'CREATE ROLE escala_owner' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'escala_owner') \gexec
SELECT 'CREATE ROLE escala' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'escala') \gexec
SELECT 'CREATE DATABASE escala' WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = 'escala') \gexec
ALTER ROLE escala_owner LOGIN PASSWORD :'owner_password';
ALTER ROLE escala LOGIN PASSWORD :'password';
ALTER DATABASE escala OWNER TO escala_owner;
\connect escala
REASSIGN OWNED BY escala TO escala_owner;
SQL
