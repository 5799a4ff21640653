//! Any attributes of variants, renditions, date ranges, keys and maps are read or refused.
#![no_main]

use libfuzzer_sys::fuzz_target;
use segvault::hls::upstream::{Playlist, parse};

const MASTER: [&str; 3] = ["#EXT-X-STREAM-INF:", "#EXT-X-MEDIA:", "#EXT-X-I-FRAME-STREAM-INF:"];
const MEDIA: [&str; 5] = ["#EXT-X-DATERANGE:", "#EXT-X-KEY:", "#EXT-X-MAP:", "#EXT-X-BYTERANGE:", "#EXTINF:"];

fuzz_target!(|bytes: (bool, Vec<(u8, String)>)| {
    let (is_master, lines) = bytes;
    let tags: &[&str] = if is_master { &MASTER } else { &MEDIA };
    let mut text = String::from("#EXTM3U\n#EXT-X-VERSION:6\n");
    if !is_master {
        text.push_str("#EXT-X-TARGETDURATION:2\n");
    }
    for (tag, attributes) in &lines {
        text.push_str(tags[usize::from(*tag) % tags.len()]);
        text.push_str(attributes);
        text.push_str(if is_master { "\nv.m3u8\n" } else { "\n#EXTINF:2.0,\ns.ts\n" });
    }
    if let Ok(Playlist::Master(variants)) = parse(text.as_bytes()) {
        assert!(variants.iter().all(|variant| !variant.uri.is_empty()), "{variants:?}");
    }
});
