-- Who is there: each node keeps its own row. A row that a person wrote, so that the node is found as a peer, has a name
-- and a url, and was never seen. Times are microseconds since 1970, UTC.
CREATE TABLE nodes (
    name TEXT NOT NULL PRIMARY KEY CHECK (name <> ''),
    url TEXT,
    backfill_from BOOLEAN NOT NULL DEFAULT TRUE,
    version TEXT,
    started_at BIGINT,
    last_seen BIGINT
);
