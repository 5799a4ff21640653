-- What nodes do about events: which may upload where, and each attempt to publish a video. Times are microseconds since
-- 1970, UTC.

-- The attempt that an event is at, from CLAIMED on.
ALTER TABLE events ADD COLUMN upload_key TEXT;

-- Nodes that cut events, each of which keeps its own row: the names of its locations, and when it was last at work.
CREATE TABLE uploaders (
    node TEXT NOT NULL PRIMARY KEY CHECK (node <> ''),
    locations TEXT NOT NULL CHECK (json_array_length(locations) >= 0),
    seen_at BIGINT NOT NULL
);

-- Attempts. A row is there before anything is begun at the destination; the ticket, which is a secret, before the first byte
-- is sent.
CREATE TABLE event_uploads (
    upload_key TEXT NOT NULL PRIMARY KEY CHECK (upload_key <> ''),
    event_id TEXT NOT NULL REFERENCES events (id),
    uploader TEXT NOT NULL,
    location TEXT NOT NULL,
    begun_at BIGINT NOT NULL,
    content_type TEXT NOT NULL,
    len_bytes BIGINT NOT NULL,
    sha256 BYTEA NOT NULL,
    -- What the cut shows, and what was checked about it: JSON.
    receipt TEXT NOT NULL,
    ticket TEXT
);

CREATE INDEX event_uploads_of_event ON event_uploads (event_id, begun_at);
