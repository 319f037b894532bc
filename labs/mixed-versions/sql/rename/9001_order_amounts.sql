-- One statement, done in a millisecond; and from then on no replica of the old version knows what it is talking about.
ALTER TABLE orders RENAME COLUMN total_cents TO amount_cents;
