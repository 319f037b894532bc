#!/bin/sh
# Runs once, on an empty data folder. The application owns its database and is no superuser.
set -eu
psql -v ON_ERROR_STOP=1 -U postgres -v password="$DATABASE_PASSWORD" <<'SQL'
CREATE ROLE escala LOGIN PASSWORD :'password';
CREATE DATABASE escala OWNER escala;
SQL
