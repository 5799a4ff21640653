//! The tables as queries see them; `migrations/` makes them.

diesel::table! {
    nodes (name) {
        name -> Text,
        url -> Nullable<Text>,
        backfill_from -> Bool,
        version -> Nullable<Text>,
        started_at -> Nullable<BigInt>,
        last_seen -> Nullable<BigInt>,
    }
}

diesel::table! {
    events (id) {
        id -> Text,
        version -> BigInt,
        sheet_name -> Text,
        event_start -> Nullable<BigInt>,
        event_end -> Nullable<BigInt>,
        category -> Text,
        description -> Text,
        submitter_winner -> Text,
        poster_moment -> Bool,
        image_links -> Text,
        notes -> Text,
        tags -> Text,
        allow_holes -> Bool,
        uploader_whitelist -> Nullable<Text>,
        upload_location -> Nullable<Text>,
        public -> Bool,
        video_ranges -> Nullable<Text>,
        video_transitions -> Nullable<Text>,
        video_title -> Nullable<Text>,
        video_description -> Nullable<Text>,
        video_tags -> Nullable<Text>,
        video_channel -> Nullable<Text>,
        video_quality -> Text,
        thumbnail_mode -> Text,
        thumbnail_time -> Nullable<BigInt>,
        thumbnail_template -> Nullable<Text>,
        thumbnail_crop -> Nullable<Text>,
        thumbnail_location -> Nullable<Text>,
        state -> Text,
        uploader -> Nullable<Text>,
        error -> Nullable<Text>,
        video_id -> Nullable<Text>,
        video_link -> Nullable<Text>,
        editor -> Nullable<Text>,
        edit_time -> Nullable<BigInt>,
        upload_time -> Nullable<BigInt>,
        last_modified -> Nullable<BigInt>,
        attempts -> BigInt,
        retry_at -> Nullable<BigInt>,
        lease_until -> Nullable<BigInt>,
        listed_at -> BigInt,
        search -> Text,
        thumbnail_image -> Nullable<Binary>,
        thumbnail_last_written -> Nullable<Binary>,
        upload_key -> Nullable<Text>,
    }
}

diesel::table! {
    uploaders (node) {
        node -> Text,
        locations -> Text,
        seen_at -> BigInt,
    }
}

diesel::table! {
    event_uploads (upload_key) {
        upload_key -> Text,
        event_id -> Text,
        uploader -> Text,
        location -> Text,
        begun_at -> BigInt,
        content_type -> Text,
        len_bytes -> BigInt,
        sha256 -> Binary,
        receipt -> Text,
        ticket -> Nullable<Text>,
    }
}

diesel::table! {
    event_progress (event_id) {
        event_id -> Text,
        uploader -> Text,
        activity -> Text,
        done_bytes -> BigInt,
        total_bytes -> Nullable<BigInt>,
        ends_at -> Nullable<BigInt>,
        noted_at -> BigInt,
    }
}

diesel::table! {
    event_history (event_id, version) {
        event_id -> Text,
        version -> BigInt,
        changed_at -> BigInt,
        changed_by -> Text,
        step -> Text,
        changes -> Text,
    }
}

diesel::table! {
    users (email) {
        email -> Text,
        name -> Text,
        roles -> Text,
    }
}

diesel::table! {
    templates (name) {
        name -> Text,
        description -> Text,
        attribution -> Text,
        crop -> Text,
        location -> Text,
        image -> Binary,
    }
}

diesel::table! {
    playlists (id) {
        id -> Text,
        name -> Text,
        description -> Text,
        tags -> Nullable<Text>,
        playlist_id -> Nullable<Text>,
        show_in_description -> Bool,
        default_template -> Nullable<Text>,
    }
}

diesel::table! {
    quota_spent (project, day) {
        project -> Text,
        day -> BigInt,
        inserts -> BigInt,
        units -> BigInt,
    }
}

// Kept by diesel's migrations; its column `run_on` is of no use to us.
diesel::table! {
    __diesel_schema_migrations (version) {
        version -> Text,
    }
}
