-- Events: what somebody wants as a video, and what became of it. The constraints are those of docs/operations.md: whoever
-- writes with a shell meets them too. Times are microseconds since 1970, UTC. Lists are JSON, as the HTTP interface has
-- them: the same text in both engines. `version` counts the changes; event_history has one line for each.
CREATE TABLE events (
    id TEXT COLLATE "C" NOT NULL PRIMARY KEY CHECK (id <> ''),
    version BIGINT NOT NULL DEFAULT 1,

    sheet_name TEXT NOT NULL DEFAULT '',
    event_start BIGINT,
    event_end BIGINT,
    category TEXT NOT NULL DEFAULT '',
    description TEXT NOT NULL DEFAULT '',
    submitter_winner TEXT NOT NULL DEFAULT '',
    poster_moment BOOLEAN NOT NULL DEFAULT FALSE,
    image_links TEXT NOT NULL DEFAULT '[]' CHECK (json_array_length(image_links::json) >= 0),
    notes TEXT NOT NULL DEFAULT '',
    tags TEXT NOT NULL DEFAULT '[]' CHECK (json_array_length(tags::json) >= 0),

    allow_holes BOOLEAN NOT NULL DEFAULT FALSE,
    uploader_whitelist TEXT CHECK (json_array_length(uploader_whitelist::json) >= 0),
    upload_location TEXT,
    public BOOLEAN NOT NULL DEFAULT TRUE,
    video_ranges TEXT,
    video_transitions TEXT,
    video_title TEXT,
    video_description TEXT,
    video_tags TEXT CHECK (json_array_length(video_tags::json) >= 0),
    video_channel TEXT,
    video_quality TEXT NOT NULL DEFAULT 'source',
    thumbnail_mode TEXT NOT NULL DEFAULT 'TEMPLATE',
    thumbnail_time BIGINT,
    thumbnail_template TEXT,
    thumbnail_crop TEXT CHECK (json_array_length(thumbnail_crop::json) = 4),
    thumbnail_location TEXT CHECK (json_array_length(thumbnail_location::json) = 4),

    state TEXT NOT NULL DEFAULT 'UNEDITED',
    uploader TEXT,
    error TEXT,
    video_id TEXT,
    video_link TEXT,
    editor TEXT,
    edit_time BIGINT,
    upload_time BIGINT,
    last_modified BIGINT,
    -- How often it was given back since it was edited, and before when nobody claims it again.
    attempts BIGINT NOT NULL DEFAULT 0,
    retry_at BIGINT,
    -- Until when the uploader is believed to be at work.
    lease_until BIGINT,

    -- What lists are in the order of: events without a start come last, in both engines.
    listed_at BIGINT NOT NULL GENERATED ALWAYS AS (COALESCE(event_start, 9223372036854775807)) STORED,
    -- What texts are looked for in, in lower case.
    search TEXT NOT NULL DEFAULT '',

    -- Last, as they are long: whoever reads the others does not pass them.
    thumbnail_image BYTEA,
    thumbnail_last_written BYTEA,

    CONSTRAINT known_state CHECK (
        state IN ('UNEDITED', 'EDITED', 'CLAIMED', 'FINALIZING', 'TRANSCODING', 'DONE', 'MODIFIED')
    ),
    CONSTRAINT known_thumbnail_mode CHECK (thumbnail_mode IN ('NONE', 'BARE', 'TEMPLATE', 'CUSTOM')),
    -- A video that was published elsewhere is DONE without having been edited here.
    CONSTRAINT edited_is_whole CHECK (
        state IN ('UNEDITED', 'DONE')
        OR (
            upload_location IS NOT NULL AND video_ranges IS NOT NULL AND video_transitions IS NOT NULL
            AND video_title IS NOT NULL AND video_description IS NOT NULL AND video_tags IS NOT NULL
            AND video_channel IS NOT NULL
        )
    ),
    CONSTRAINT edited_has_an_editor CHECK (state = 'UNEDITED' OR (editor IS NOT NULL AND edit_time IS NOT NULL)),
    CONSTRAINT transitions_lie_between_ranges CHECK (
        (video_ranges IS NULL AND video_transitions IS NULL)
        OR (
            video_ranges IS NOT NULL AND video_transitions IS NOT NULL
            AND json_array_length(video_ranges::json) = json_array_length(video_transitions::json) + 1
        )
    ),
    CONSTRAINT claimed_has_an_uploader CHECK (
        state NOT IN ('CLAIMED', 'FINALIZING', 'TRANSCODING') OR uploader IS NOT NULL
    ),
    CONSTRAINT claimed_has_a_lease CHECK (state NOT IN ('CLAIMED', 'FINALIZING') OR lease_until IS NOT NULL),
    CONSTRAINT done_has_a_link CHECK (
        state NOT IN ('DONE', 'MODIFIED') OR (video_link IS NOT NULL AND upload_time IS NOT NULL)
    ),
    CONSTRAINT modified_says_when CHECK (state <> 'MODIFIED' OR last_modified IS NOT NULL),
    CONSTRAINT thumbnail_has_a_time CHECK (
        state = 'UNEDITED' OR thumbnail_mode NOT IN ('BARE', 'TEMPLATE') OR thumbnail_time IS NOT NULL
    ),
    CONSTRAINT thumbnail_has_a_template CHECK (
        state = 'UNEDITED' OR thumbnail_mode <> 'TEMPLATE' OR thumbnail_template IS NOT NULL
    ),
    CONSTRAINT thumbnail_has_an_image CHECK (
        state = 'UNEDITED' OR thumbnail_mode <> 'CUSTOM' OR thumbnail_image IS NOT NULL
    )
);

-- Lists.
CREATE INDEX events_listed ON events (listed_at, id);
CREATE INDEX events_listed_by_state ON events (state, listed_at, id);
-- Who looks for work: the longest waiting first.
CREATE INDEX events_waiting ON events (state, edit_time, id);

-- How far a node is with an event; for people to look at. Written often, so it is no change of the event.
CREATE TABLE event_progress (
    event_id TEXT NOT NULL PRIMARY KEY REFERENCES events (id),
    uploader TEXT NOT NULL,
    -- What is being done: cutting, uploading.
    activity TEXT NOT NULL,
    done_bytes BIGINT NOT NULL,
    total_bytes BIGINT,
    ends_at BIGINT,
    noted_at BIGINT NOT NULL
);

-- Every change of an event: who, when, what. `changes` is {column: [before, after]}.
CREATE TABLE event_history (
    event_id TEXT NOT NULL REFERENCES events (id),
    version BIGINT NOT NULL,
    changed_at BIGINT NOT NULL,
    changed_by TEXT NOT NULL,
    step TEXT NOT NULL,
    changes TEXT NOT NULL CHECK (json_typeof(changes::json) = 'object'),
    PRIMARY KEY (event_id, version)
);

CREATE INDEX event_history_changed ON event_history (changed_at, event_id, version);

CREATE FUNCTION refuse_to_forget() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the history of events is only ever added to';
END
$$;
CREATE TRIGGER event_history_is_kept BEFORE UPDATE OR DELETE OR TRUNCATE ON event_history
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_to_forget();
