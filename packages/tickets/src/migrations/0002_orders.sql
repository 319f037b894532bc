-- For people: short, unique over all replicas, with gaps where an order was rolled back.
CREATE SEQUENCE order_numbers AS bigint START 1001;

CREATE TABLE orders (
  id uuid PRIMARY KEY,
  number bigint NOT NULL DEFAULT nextval('order_numbers'),
  user_id uuid NOT NULL REFERENCES users (id),
  show_id uuid NOT NULL REFERENCES shows (id),
  status text NOT NULL DEFAULT 'pending',
  quantity integer NOT NULL CHECK (quantity > 0),
  total_cents bigint NOT NULL,
  currency text NOT NULL,
  -- While `pending`, the tickets are held until then.
  hold_until timestamptz NOT NULL,
  -- The provider's name for the payment.
  charge_id text,
  paid_at timestamptz,
  -- The request that made the order: its jobs and its mail carry it.
  request_id text NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  -- When somebody last worked on it; see the sweep.
  touched_at timestamptz NOT NULL DEFAULT now(),
  CONSTRAINT orders_number UNIQUE (number),
  CONSTRAINT orders_status CHECK (
    status IN ('pending', 'charging', 'paid', 'confirmed', 'failed', 'expired', 'refunding', 'cancelled')
  )
) WITH (fillfactor = 80);

ALTER SEQUENCE order_numbers OWNED BY orders.number;

CREATE INDEX orders_by_user ON orders (user_id, number DESC);
CREATE INDEX orders_unsettled ON orders (touched_at) WHERE status IN ('pending', 'charging', 'paid', 'refunding');
CREATE INDEX orders_by_payment ON orders (paid_at) WHERE paid_at IS NOT NULL;
