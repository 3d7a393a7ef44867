-- How often a job was ordered.

-- 1, and one more each time that somebody orders again what already waits: what an attempt did for an
-- earlier order does not count for a later one, whatever the clocks said.
ALTER TABLE jobs ADD COLUMN orders BIGINT NOT NULL DEFAULT 1;
