use super::*;
use crate::hls::upstream::{self, Playlist, Resolution};

fn variant(uri: &str, name: &str, (width, height): (u64, u64), bandwidth: u64) -> Variant {
    let resolution = Some(Resolution { width, height });
    Variant { uri: uri.into(), names: vec![name.into()], bandwidth, resolution, ..Variant::default() }
}

fn codecs(names: &[&str]) -> Vec<VideoCodec> {
    names.iter().map(|name| name.parse().unwrap()).collect()
}

fn picked<'v>(variants: &'v [Variant], wanted: &str) -> Option<&'v str> {
    pick(variants, wanted, &codecs(&["h264", "hevc", "av1"])).map(|variant| variant.uri.as_str())
}

#[test]
fn source_is_the_best_and_others_go_by_name() {
    let variants = [variant("s.m3u8", "480p", (852, 480), 1), variant("l.m3u8", "1080p60", (1920, 1080), 9)];
    let base: Url = "http://x.test/a/master.m3u8".parse().unwrap();
    let wanted: Vec<Quality> = ["source", "480P", "360p"].iter().map(|name| name.parse().unwrap()).collect();
    let taste = Taste { codecs: codecs(&["h264"]), url_life: None };
    let SourceState::Live { media, missing, offered } = choose(&base, &variants, &wanted, &taste, None) else {
        panic!()
    };
    let urls: Vec<&str> = media.iter().map(|one| one.url.as_str()).collect();
    assert_eq!(urls, ["http://x.test/a/l.m3u8", "http://x.test/a/s.m3u8"]);
    assert_eq!(missing, ["360p".parse().unwrap()]);
    assert_eq!(offered, ["480p", "1080p60"]);
}

#[test]
fn the_operator_knows_better_how_long_addresses_live() {
    let variants = [variant("a", "source", (16, 9), 1)];
    let (hour, minute) = (Duration::from_secs(3600), Duration::from_secs(60));
    for (url_life, usual, lives_for) in
        [(None, None, None), (None, Some(hour), Some(hour)), (Some(minute), Some(hour), Some(minute))]
    {
        let taste = Taste { codecs: Vec::new(), url_life };
        let state = choose(&"http://x/".parse().unwrap(), &variants, &["source".parse().unwrap()], &taste, usual);
        let SourceState::Live { media, .. } = state else { panic!() };
        assert_eq!(media[0].lives_for, lives_for);
    }
}

#[test]
fn a_size_finds_its_variant_whatever_it_is_called() {
    let mut variants = [variant("a", "Mittel", (852, 480), 1), variant("b", "Hoch", (1280, 720), 2)];
    variants[0].frames_per_second = Some(30);
    variants[1].frames_per_second = Some(60);
    for (wanted, found) in [
        ("480p", Some("a")),
        ("480p30", Some("a")),
        ("480P", Some("a")),
        ("mittel", Some("a")),
        ("720p", Some("b")),
        ("720p60", Some("b")),
        ("720p30", None),
        ("p", None),
        ("480px", None),
        ("99999999999999999999p", None),
        ("1080p", None),
    ] {
        assert_eq!(picked(&variants, wanted), found, "{wanted}");
    }
}

#[test]
fn a_variant_without_sound_or_size_is_taken_only_where_there_is_no_other() {
    let mut silent = variant("silent", "a", (1920, 1080), 9);
    silent.separate_sound = true;
    let whole = variant("whole", "b", (1280, 720), 5);
    assert_eq!(picked(&[silent.clone(), whole], "source"), Some("whole"));
    assert_eq!(picked(&[silent], "source"), Some("silent"));
    let bare = Variant { uri: "bare".into(), ..Variant::default() };
    assert_eq!(picked(&[bare], "source"), Some("bare"));
    let radio = Variant { uri: "radio".into(), codecs: vec!["mp4a.40.2".into()], ..Variant::default() };
    assert_eq!(picked(&[radio], "source"), Some("radio"));
}

fn vector(name: &str) -> Vec<Variant> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/twitch").join(name);
    match upstream::parse(&std::fs::read(path).unwrap()).unwrap() {
        Playlist::Master(variants) => variants,
        Playlist::Media(_) => panic!("{name} lists segments"),
    }
}

/// What each vector's address calls the variant that is picked.
#[test]
fn twitch_is_understood_in_both_forms() {
    let all = ["h264", "hevc", "av1"];
    let mut wrong = Vec::new();
    for (file, accepted, wanted, found) in [
        ("media_names.m3u8", &all[..], "source", "source"),
        ("media_names.m3u8", &all, "chunked", "source"),
        ("media_names.m3u8", &all, "1080p60", "source"),
        ("media_names.m3u8", &all, "480p", "480p30"),
        ("media_names.m3u8", &all, "480p30", "480p30"),
        ("media_names.m3u8", &all, "audio_only", "audio"),
        ("media_names.m3u8", &all, "900p", ""),
        ("media_names.m3u8", &all, "source_portrait", ""),
        ("media_names_source_only.m3u8", &all, "source", "source"),
        ("media_names_source_only.m3u8", &all, "480p", ""),
        ("media_names_codecs.m3u8", &all, "source", "hevc-1440p60"),
        ("media_names_codecs.m3u8", &["h264", "av1"], "source", "av1-1080p60"),
        ("media_names_codecs.m3u8", &["h264"], "source", "h264-480p30"),
        ("media_names_codecs.m3u8", &all, "480p", "h264-480p30"),
        ("ivs_names.m3u8", &all, "source", "source"),
        ("ivs_names.m3u8", &all, "1080p60", "source"),
        ("ivs_names.m3u8", &all, "480p", "480p30"),
        ("ivs_names.m3u8", &all, "480p30", "480p30"),
        ("ivs_names.m3u8", &all, "360P", "360p30"),
        ("ivs_names_codecs.m3u8", &all, "source", "hevc-1440p60"),
        ("ivs_names_codecs.m3u8", &["h264", "av1"], "source", "h264-1080p60"),
        ("ivs_names_codecs.m3u8", &["av1", "h264"], "source", "av1-1080p60"),
        ("ivs_names_codecs.m3u8", &["h264"], "source", "h264-1080p60"),
        ("ivs_names_codecs.m3u8", &["h264"], "1080p60", "h264-1080p60"),
        ("ivs_names_codecs.m3u8", &["av1"], "1080p60", "av1-1080p60"),
        // What is not accepted is better than nothing.
        ("ivs_names_codecs.m3u8", &["h264"], "1440p60", "hevc-1440p60"),
        ("ivs_names_codecs.m3u8", &all, "480p", "h264-480p30"),
        ("ivs_names_portrait.m3u8", &all, "source", "landscape-1080p60"),
        ("ivs_names_portrait.m3u8", &all, "720p60", "landscape-720p60"),
        ("ivs_names_portrait.m3u8", &all, "source_portrait", "portrait-1080p60"),
        ("ivs_names_portrait.m3u8", &all, "720p_portrait", "portrait-720p60"),
        ("ivs_names_portrait.m3u8", &all, "720p60_portrait", "portrait-720p60"),
        ("ivs_names_portrait.m3u8", &all, "360p_portrait", ""),
        ("ivs_names_no_source.m3u8", &all, "source", "720p60"),
        ("ivs_names_audio_only.m3u8", &all, "source", ""),
        ("ivs_names_audio_only.m3u8", &all, "audio_only", "audio"),
    ] {
        let variants = vector(file);
        let uri = pick(&variants, wanted, &codecs(accepted)).map_or("", |variant| variant.uri.as_str());
        let expected = if found.is_empty() { String::new() } else { format!("CtMFa8Zc-{found}-yUDPzvd") };
        if uri.is_empty() != found.is_empty() || !uri.contains(&expected) {
            wrong.push(format!("{file} {accepted:?} {wanted}: {uri}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The names may change at any time.
#[test]
fn source_is_found_without_any_of_the_names() {
    for (file, found) in [
        ("media_names.m3u8", "-source-"),
        ("media_names_codecs.m3u8", "-hevc-1440p60-"),
        ("ivs_names.m3u8", "-source-"),
        ("ivs_names_codecs.m3u8", "-hevc-1440p60-"),
        ("ivs_names_portrait.m3u8", "-landscape-1080p60-"),
    ] {
        let mut variants = vector(file);
        for variant in &mut variants {
            variant.names = vec!["new".into()];
            variant.is_source = false;
        }
        assert!(picked(&variants, "source").unwrap().contains(found), "{file}");
    }
}
