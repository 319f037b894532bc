-- How often each of these tables has changed. A process asks for these numbers with its heartbeat, and reads a table again only
-- when its number is another one: what a heartbeat costs does not grow with the number of processes. Triggers count, so that
-- versions that know nothing of this, and operators with psql, are heard as well.
CREATE TABLE changes (
  table_name text PRIMARY KEY,
  revision   bigint NOT NULL
);
INSERT INTO changes VALUES ('replicas', 1), ('flags', 1);

-- With the rights of its owner: the roles that serve, or that set flags, need none on `changes`, also those that were there before it.
CREATE FUNCTION count_change() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
  -- A count whose row was lost begins at the time, in microseconds: never again at a number that a process knows.
  INSERT INTO changes VALUES (TG_TABLE_NAME, extract(epoch FROM clock_timestamp()) * 1000000) ON CONFLICT (table_name) DO UPDATE SET revision = changes.revision + 1;
  RETURN NULL;
END $$;
REVOKE ALL ON FUNCTION count_change() FROM PUBLIC; -- or any role could put it on a table of its own
DO $$ BEGIN
  EXECUTE format('ALTER FUNCTION count_change() SET search_path = %I, pg_temp', current_schema());
END $$;

CREATE TRIGGER flags_changed AFTER INSERT OR UPDATE OR DELETE ON flags
  FOR EACH STATEMENT EXECUTE FUNCTION count_change();

-- Somebody found that it has been silent for its time-to-live.
ALTER TABLE replicas ADD COLUMN found_dead boolean NOT NULL DEFAULT false;

-- Versions that know nothing of this register again without it.
CREATE FUNCTION alive_again() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  NEW.found_dead := false;
  RETURN NEW;
END $$;
CREATE TRIGGER replicas_again BEFORE UPDATE OF admitted ON replicas
  FOR EACH ROW WHEN (OLD.found_dead AND NEW.heartbeat_at > OLD.heartbeat_at) EXECUTE FUNCTION alive_again();

CREATE TRIGGER replicas_came AFTER INSERT ON replicas
  FOR EACH ROW EXECUTE FUNCTION count_change();
CREATE TRIGGER replicas_left AFTER DELETE ON replicas
  FOR EACH ROW WHEN (NOT OLD.found_dead) EXECUTE FUNCTION count_change();
-- A heartbeat touches neither column. One that registers again may have been taken for dead meanwhile.
CREATE TRIGGER replicas_changed AFTER UPDATE OF admitted, found_dead ON replicas
  FOR EACH ROW WHEN (OLD.admitted <> NEW.admitted OR OLD.found_dead <> NEW.found_dead
    OR OLD.heartbeat_at <= clock_timestamp() - OLD.ttl_ms * interval '1 ms')
  EXECUTE FUNCTION count_change();
