-- What happened in a transaction and must become a job. Written with the rows it tells of: both commit, or neither.
CREATE TABLE outbox (
  id           uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  -- The order within one aggregate. Across aggregates it says nothing: numbers are not taken in the order of the commits.
  position     bigint GENERATED ALWAYS AS IDENTITY,
  -- It begins the job's id, in which BullMQ allows no colon; a message that no queue takes would stop its aggregate.
  type         text NOT NULL CHECK (type ~ '^[a-z][a-z0-9._-]*$'),
  aggregate    text NOT NULL,
  payload      json NOT NULL,
  request_id   text,
  created_at   timestamptz NOT NULL DEFAULT now(),
  published_at timestamptz
);

CREATE INDEX outbox_unpublished ON outbox (position) WHERE published_at IS NULL;
CREATE INDEX outbox_unpublished_of_aggregate ON outbox (aggregate, position) WHERE published_at IS NULL;
CREATE INDEX outbox_published ON outbox (published_at) WHERE published_at IS NOT NULL;

-- Wakes the relays. Postgres takes one lock for the whole server while a transaction that notifies commits, so if every
-- transaction did, all commits would queue up. Only one at a time does; what the others wrote is found by the next poll.
CREATE FUNCTION notify_outbox() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF pg_try_advisory_xact_lock(hashtextextended('outbox notify', 0)) THEN
    PERFORM pg_notify('outbox', '');
  END IF;
  RETURN NULL;
END
$$;

CREATE TRIGGER outbox_notify AFTER INSERT ON outbox FOR EACH ROW EXECUTE FUNCTION notify_outbox();
