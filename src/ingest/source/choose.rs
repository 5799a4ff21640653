//! Which of the variants of a master playlist a quality means. Pure.
//!
//! A quality is, in this order: a name that the source gives; `source`, the best that there is; a size such as `480p` or
//! `720p60`, however the source names it today. Where several fit, the best of them is taken. With `_portrait` behind it,
//! only variants that are higher than wide are meant: `source_portrait`, `720p60_portrait`.
//!
//! "Best" is, in this order: landscape; a codec that the channel accepts; its own sound; what the source marks as the
//! broadcaster's; pixels; frames per second; the earlier of the accepted codecs; bits. All but `audio_only` are candidates:
//! a variant that lacks something is still better than no record.

use std::cmp::Reverse;
use std::time::Duration;

use url::Url;

use super::{BEST, SourceState, Taste};
use crate::hls::upstream::Variant;
use crate::model::{Quality, VideoCodec};

const PORTRAIT: &str = "_portrait";
/// What Twitch calls the sound without pictures, which is never `source`, not even where it is all that there is.
const AUDIO_ONLY: &str = "audio_only";
/// Beginnings of CODECS elements that are no pictures: sound and text.
const NO_PICTURES: &[&str] = &["mp4a", "ac-3", "ec-3", "ac-4", "opus", "flac", "alac", "stpp", "wvtt"];

/// Picks a variant for each quality.
pub(super) fn choose(
    base: &Url,
    variants: &[Variant],
    qualities: &[Quality],
    taste: &Taste,
    usual_life: Option<Duration>,
) -> SourceState {
    let (mut media, mut missing) = (Vec::new(), Vec::new());
    for quality in qualities {
        let variant = pick(variants, quality.as_str(), &taste.codecs);
        match variant.and_then(|variant| base.join(&variant.uri).ok()) {
            Some(url) => media.push(taste.media_url(quality, url, usual_life)),
            None => missing.push(quality.clone()),
        }
    }
    SourceState::Live { media, missing, offered: variants.iter().map(names_of).collect() }
}

/// Whether a quality can only be found among variants that are higher than wide.
pub(super) fn is_portrait(quality: &Quality) -> bool {
    quality.as_str().ends_with(PORTRAIT)
}

fn pick<'v>(variants: &'v [Variant], wanted: &str, codecs: &[VideoCodec]) -> Option<&'v Variant> {
    let best = |fits: &dyn Fn(&Variant) -> bool| {
        variants.iter().filter(|variant| fits(variant)).max_by_key(|variant| rank(variant, codecs))
    };
    let is_named = |variant: &Variant, name: &str| variant.names.iter().any(|own| own.eq_ignore_ascii_case(name));
    let of_shape = |stem: &str, fits: &dyn Fn(&Variant) -> bool| {
        best(&|variant| is_named(variant, stem) && fits(variant))
            .or_else(|| best(&|variant| stem == BEST && !is_named(variant, AUDIO_ONLY) && fits(variant)))
            .or_else(|| {
                let size = Size::of_name(stem)?;
                best(&|variant| size.is_of(variant) && fits(variant))
            })
    };
    of_shape(wanted, &|_| true).or_else(|| of_shape(wanted.strip_suffix(PORTRAIT)?, &|variant| !is_landscape(variant)))
}

fn rank(variant: &Variant, codecs: &[VideoCodec]) -> impl Ord + use<> {
    let accepted = accepted_codec(variant, codecs);
    let pixels = variant.resolution.map_or(0, |size| size.width.saturating_mul(size.height));
    (
        (has_pictures(variant), is_landscape(variant), accepted.is_some(), !variant.separate_sound, variant.is_source),
        (pixels, variant.frames_per_second, Reverse(accepted), variant.bandwidth),
    )
}

/// The place of the variant's codec among those that are accepted; behind them, where it is not told.
fn accepted_codec(variant: &Variant, codecs: &[VideoCodec]) -> Option<usize> {
    let mut pictures = variant.codecs.iter().filter(|tag| is_of_pictures(tag));
    match pictures.next() {
        Some(tag) => codecs.iter().position(|codec| Some(*codec) == VideoCodec::of_tag(tag)),
        None => Some(codecs.len()),
    }
}

fn is_of_pictures(tag: &str) -> bool {
    !NO_PICTURES.iter().any(|other| tag.to_ascii_lowercase().starts_with(other))
}

fn has_pictures(variant: &Variant) -> bool {
    variant.resolution.is_some() || variant.codecs.is_empty() || variant.codecs.iter().any(|tag| is_of_pictures(tag))
}

/// Who does not tell is landscape, as nearly all are.
fn is_landscape(variant: &Variant) -> bool {
    variant.resolution.is_none_or(|size| size.width >= size.height)
}

fn names_of(variant: &Variant) -> String {
    if !variant.names.is_empty() {
        return variant.names.join("|");
    }
    match (variant.resolution, variant.frames_per_second) {
        (Some(size), Some(rate)) => format!("{}p{rate}", size.width.min(size.height)),
        (Some(size), None) => format!("{}p", size.width.min(size.height)),
        (None, _) => "unnamed".to_owned(),
    }
}

/// A size as it is named: the shorter side, and maybe the frames per second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Size {
    lines: u64,
    frames_per_second: Option<u64>,
}

impl Size {
    /// `480p`, `720p60`.
    fn of_name(name: &str) -> Option<Self> {
        let (lines, rate) = name.split_once(['p', 'P'])?;
        let number = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?;
        let frames_per_second = if rate.is_empty() { None } else { Some(number(rate)?) };
        Some(Self { lines: number(lines)?, frames_per_second })
    }

    fn is_of(self, variant: &Variant) -> bool {
        let same_rate = match (self.frames_per_second, variant.frames_per_second) {
            (Some(wanted), Some(rate)) => wanted == rate,
            (None, _) | (_, None) => true,
        };
        same_rate && variant.resolution.is_some_and(|size| size.width.min(size.height) == self.lines)
    }
}

#[cfg(test)]
mod tests;
