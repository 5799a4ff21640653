//! Any bytes are a playlist or are refused; of what is read, the promises of `hls::upstream` hold.
#![no_main]

use libfuzzer_sys::fuzz_target;
use segvault::hls::upstream::{Playlist, parse};

fuzz_target!(|bytes: &[u8]| {
    let Ok(Playlist::Media(playlist)) = parse(bytes) else { return };
    let text = std::str::from_utf8(bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes)).expect("it was read");
    for segment in &playlist.segments {
        assert!(segment.duration_micros > 0, "{segment:?}");
        assert!(text.lines().any(|line| line.trim() == segment.uri), "{segment:?} is no line of its own");
    }
    let numbers = playlist.segments.iter().map(|segment| segment.media_sequence);
    assert!(numbers.clone().zip(numbers.skip(1)).all(|(one, next)| one < next), "{playlist:?}");
    for range in &playlist.date_ranges {
        assert!(range.span().is_none_or(|span| span.start() < span.end()), "{range:?}");
    }
});
