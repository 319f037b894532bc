-- Counts every change of `available`, under the row's lock: whoever has two of its values knows which is the newer one.
ALTER TABLE shows ADD COLUMN revision integer NOT NULL DEFAULT 0;
