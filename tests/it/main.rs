//! Tests of the whole: golden cases of the existing system, real processes, real HTTP, real ffmpeg.
#![allow(clippy::unwrap_used)]

mod commands;
mod coverage;
mod cut;
mod dashboards;
mod db;
mod demo;
mod deny;
mod docs;
mod events;
mod gate;
mod golden;
mod hardship;
mod internet;
mod jobs;
mod live;
mod losses;
mod media;
mod player;
mod pods;
mod postgres;
mod record;
mod reference;
mod rehearsals;
mod replicate;
mod retention;
mod rooms;
mod scrub;
mod serve;
mod soak;
mod sources;
mod support;
mod tombstones;
mod uploads;
