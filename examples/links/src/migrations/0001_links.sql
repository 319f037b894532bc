CREATE TABLE links (
  code       text PRIMARY KEY,
  -- The order of a user's list.
  position   bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
  user_id    uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
  target     text NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  clicks     integer NOT NULL DEFAULT 0
) WITH (fillfactor = 80); -- each click is an update: it finds room on its page

CREATE INDEX links_of_user ON links (user_id, position DESC);

-- One row per click, kept for some days: a job that runs twice finds its own row and counts nothing.
CREATE TABLE link_clicks (
  -- The request: NGINX gives a repeated one the same id.
  id         text PRIMARY KEY,
  code       text NOT NULL REFERENCES links (code) ON DELETE CASCADE,
  clicked_at timestamptz NOT NULL
);

CREATE INDEX link_clicks_by_time ON link_clicks (clicked_at);
CREATE INDEX link_clicks_of_link ON link_clicks (code);

-- What the nightly schedule computed: one row per link and whole day (UTC).
CREATE TABLE link_days (
  code   text NOT NULL REFERENCES links (code) ON DELETE CASCADE,
  day    date NOT NULL,
  clicks integer NOT NULL,
  PRIMARY KEY (code, day)
);

-- Hosts of users' own that serve their links.
CREATE TABLE link_domains (
  host        text PRIMARY KEY,
  user_id     uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
  -- The greatest fencing token that has written here: a replica that lost its lock writes nothing more.
  fence       bigint NOT NULL,
  verified_at timestamptz NOT NULL DEFAULT now()
);

CREATE INDEX link_domains_of_user ON link_domains (user_id);
