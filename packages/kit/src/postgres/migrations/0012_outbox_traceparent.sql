-- The trace that the message's job goes on with.
ALTER TABLE outbox ADD COLUMN traceparent text;
