-- no transaction
-- The sweep looks for holds that are over. Orders that wait and may still wait are many while the provider is down: it must not read them.
CREATE INDEX CONCURRENTLY IF NOT EXISTS orders_held ON orders (hold_until) WHERE status = 'pending';
