-- Expand: the old column stays. The new one has neither default nor NOT NULL, so that no row is written or looked at.
ALTER TABLE orders ADD COLUMN amount_cents bigint;

-- The old version knows one of the two columns and the next version the other: whoever writes one writes both.
CREATE FUNCTION keep_amounts_equal() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP = 'UPDATE' AND NEW.total_cents <> OLD.total_cents THEN
    NEW.amount_cents := NEW.total_cents;
  ELSIF TG_OP = 'UPDATE' AND NEW.amount_cents <> OLD.amount_cents THEN
    NEW.total_cents := NEW.amount_cents;
  END IF;
  NEW.amount_cents := coalesce(NEW.amount_cents, NEW.total_cents);
  NEW.total_cents := coalesce(NEW.total_cents, NEW.amount_cents);
  RETURN NEW;
END
$$;

CREATE TRIGGER orders_amounts BEFORE INSERT OR UPDATE ON orders FOR EACH ROW EXECUTE FUNCTION keep_amounts_equal();
