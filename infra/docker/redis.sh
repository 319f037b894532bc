#!/bin/sh
# redis.sh state|cache OPTION …: starts Redis with one user, `escala`, who may use the commands of docs/redis.md and no others.
# The password goes in as a hash: it may hold any character.
set -eu
case $1 in
  state) rules='~* &* -@all +@read +@write +@connection +@transaction +eval +evalsha +script|load +time -@dangerous +info' ;;
  cache) rules='~* &* -@all +@read +@write +@connection +eval +evalsha +script|load +time +publish +subscribe +unsubscribe -@dangerous +info' ;;
  *) echo 'usage: redis.sh state|cache OPTION …' >&2; exit 2 ;;
esac
shift
hash=$(printf %s "$REDIS_PASSWORD" | sha256sum | cut -d ' ' -f 1)
# Nobody can log in as `default`, but it keeps its rights: Redis reads the append-only file as this user, and silently skips each
# transaction and script in it that this user may not run.
exec redis-server "$@" - <<CONF
user default off ~* &* +@all
user escala on #$hash $rules
CONF
