-- Contract, one release later: no replica of the old version is left.
DROP TRIGGER orders_amounts ON orders;
DROP FUNCTION keep_amounts_equal;
ALTER TABLE orders DROP COLUMN total_cents;
-- Reads the whole table under the lock: a large one gets CHECK (…) NOT VALID and VALIDATE CONSTRAINT before.
ALTER TABLE orders ALTER COLUMN amount_cents SET NOT NULL;
