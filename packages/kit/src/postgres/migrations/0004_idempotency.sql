-- A key is here only together with the effect that it guards: while the first request runs, only its lock exists.
CREATE TABLE idempotency_keys (
  owner       text NOT NULL,
  key         text NOT NULL,
  fingerprint text NOT NULL,
  status      smallint NOT NULL,
  -- json, not jsonb: the answer is repeated byte for byte, in the order of its fields.
  body        json,
  created_at  timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (owner, key)
);

CREATE INDEX idempotency_keys_created_at ON idempotency_keys (created_at);

-- Takes the key's lock until the transaction ends, and reads its row, in one round trip. A function because each of its
-- statements sees what was committed until then: one SELECT with both would read from before it had the lock.
CREATE FUNCTION claim_idempotency_key(wanted_owner text, wanted_key text, idle_timeout_ms integer)
RETURNS TABLE (locked boolean, fingerprint text, status smallint, body json) LANGUAGE plpgsql AS $$
BEGIN
  IF NOT pg_try_advisory_xact_lock(hashtextextended('idempotency ' || wanted_owner || E'\n' || wanted_key, 0)) THEN
    RETURN QUERY SELECT false, NULL::text, NULL::smallint, NULL::json;
    RETURN;
  END IF;
  -- A process that stops between two statements would keep the key and every row it changed. The server ends it.
  PERFORM set_config('idle_in_transaction_session_timeout', idle_timeout_ms::text, true);
  RETURN QUERY
    SELECT true, k.fingerprint, k.status, k.body
    FROM (SELECT) AS one LEFT JOIN idempotency_keys AS k ON k.owner = wanted_owner AND k.key = wanted_key;
END
$$;
