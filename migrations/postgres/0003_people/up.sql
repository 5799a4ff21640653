-- Who may do what, where addresses are told by somebody who knows them. Addresses are in lower case.
CREATE TABLE users (
    email TEXT NOT NULL PRIMARY KEY CHECK (email <> '' AND email = lower(email)),
    name TEXT NOT NULL,
    -- reader, editor, artist, operator; some of them, with commas.
    roles TEXT NOT NULL
);

-- Thumbnail templates. Both areas are [left, top, right, bottom], in pixels: which part of the frame is shown, and where.
CREATE TABLE templates (
    name TEXT NOT NULL PRIMARY KEY CHECK (name <> ''),
    description TEXT NOT NULL DEFAULT '',
    -- Who made it; told in the description of each video that shows it, unless it is empty.
    attribution TEXT NOT NULL DEFAULT '',
    crop TEXT NOT NULL CHECK (json_array_length(crop::json) = 4),
    location TEXT NOT NULL CHECK (json_array_length(location::json) = 4),
    image BYTEA NOT NULL
);

-- Playlists that videos belong to by their tags. Without tags (NULL) nothing belongs to it; with none of them, everything.
CREATE TABLE playlists (
    id TEXT NOT NULL PRIMARY KEY CHECK (id <> ''),
    name TEXT NOT NULL DEFAULT '',
    description TEXT NOT NULL DEFAULT '',
    tags TEXT CHECK (json_array_length(tags::json) >= 0),
    -- What the destination calls it.
    playlist_id TEXT UNIQUE,
    -- Whether the descriptions of its videos have a line about it.
    show_in_description BOOLEAN NOT NULL DEFAULT FALSE,
    -- The template that its videos have unless somebody chooses another.
    default_template TEXT
);
