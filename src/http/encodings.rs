//! What playlists ask of the media book.
//!
//! Promises: no playlist fails because an encoding is not known.

use std::sync::Arc;
use std::time::Duration;

use super::Site;
use crate::actors::GetMedia;
use crate::hls::changes::{Change, changes, first_segment};
use crate::media::{HourMedia, SegmentMedia};
use crate::model::{Channel, Quality, SegmentName};
use crate::select::{HourIndex, Part, Selection};
use crate::store;

/// How long a playlist waits for what is not known yet of its segments' encodings.
const PATIENCE: Duration = Duration::from_millis(500);

/// What these hours are encoded with, one answer for each of them; nothing where nobody answers.
pub async fn media_of(
    site: &Site,
    channel: &Channel,
    quality: &Quality,
    hours: Vec<Arc<HourIndex>>,
) -> Vec<Arc<HourMedia>> {
    media_within(site, channel, quality, hours, PATIENCE).await
}

/// The same, for those who wait for longer, or not at all.
pub async fn media_within(
    site: &Site,
    channel: &Channel,
    quality: &Quality,
    hours: Vec<Arc<HourIndex>>,
    patience: Duration,
) -> Vec<Arc<HourMedia>> {
    let question = GetMedia { channel: channel.clone(), quality: quality.clone(), hours, patience };
    match site.directory.media_book.get(&()) {
        Some(book) => book.send(question).await.unwrap_or_default(),
        None => Vec::new(),
    }
}

/// Where the encoding changes along a selection.
pub async fn changes_along(site: &Site, channel: &Channel, quality: &Quality, selection: &Selection) -> Vec<Change> {
    let Some(first) = first_segment(selection) else { return Vec::new() };
    let hours = selection.hours().map(|(index, _)| Arc::clone(index)).collect();
    let media = media_of(site, channel, quality, hours).await;
    let is_known = selection.hours().zip(&media).any(|((_, parts), media)| {
        parts.contains(&first) && selection.place_in_hour(first).is_some_and(|place| media.at(place).is_some())
    });
    // Without its map nothing of fragmented MP4 plays, so that is not left to anybody's patience.
    let looked_at = match selection.part(first) {
        Part::Segment(segment) if !is_known => look_at(site, channel, quality, segment.to_name()).await,
        Part::Segment(_) | Part::Hole(_) => None,
    };
    changes(selection, &media, looked_at.as_ref())
}

/// What cannot be read is nothing new: the media book says so in the log.
async fn look_at(site: &Site, channel: &Channel, quality: &Quality, segment: SegmentName) -> Option<SegmentMedia> {
    let (layout, channel, quality) = (site.layout.clone(), channel.clone(), quality.clone());
    let looked_at = site.blocking.run(move || store::look_at(&layout, &channel, &quality, &segment)).await;
    looked_at.ok()?.ok()??.media
}
