#!/bin/sh
# Starts Redis with one user, who can do what the applications do, and nothing to the server itself but ask for its state.
# The password goes in as a hash: it may hold any character.
set -eu
hash=$(printf %s "$REDIS_PASSWORD" | sha256sum | cut -d ' ' -f 1)
exec redis-server "$@" - <<CONF
user default off
user escala on #$hash ~* &* +@all -@admin -@dangerous +info
CONF
