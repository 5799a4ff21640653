//! Tests of the whole: golden cases of the existing system, real processes, real HTTP, real ffmpeg.
#![allow(clippy::unwrap_used)]

mod cut;
mod deny;
mod golden;
mod record;
mod rooms;
mod serve;
mod support;
