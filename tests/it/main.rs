//! Tests of the whole: golden cases of the existing system, real processes, real HTTP, real ffmpeg.
#![allow(clippy::unwrap_used)]

mod commands;
mod cut;
mod golden;
mod hardship;
mod record;
mod serve;
mod soak;
mod support;
