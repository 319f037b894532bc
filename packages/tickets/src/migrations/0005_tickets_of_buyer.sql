-- Returns how many tickets a buyer has or holds for a show. Waits for other orders of the same buyer and show until they are
-- committed, and counts them: two at once cannot both be the last one that is allowed. A function because each of its
-- statements sees what was committed until then; the statement that calls it sees only what was there when it began.
CREATE FUNCTION tickets_of_buyer(buyer uuid, wanted_show uuid) RETURNS integer LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_advisory_xact_lock(hashtextextended('tickets of ' || buyer || ' for ' || wanted_show, 0));
  RETURN (
    SELECT coalesce(sum(quantity), 0) FROM orders
    WHERE user_id = buyer AND show_id = wanted_show AND status IN ('pending', 'charging', 'paid', 'confirmed')
  );
END
$$;
