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

// Kept by diesel's migrations; its column `run_on` is of no use to us.
diesel::table! {
    __diesel_schema_migrations (version) {
        version -> Text,
    }
}
