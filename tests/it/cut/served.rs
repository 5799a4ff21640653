//! Cuts, transitions, archives and pictures as a node serves them.

use std::io::Write;
use std::net::TcpStream;
use std::process::Command;

use base64::Engine as _;

use super::{HEIGHT, PLAIN, Recipe, Source, WIDTH, decode, number, picture, record, run};
use crate::support::{NodeProcess, Reply, read_reply};

fn serve(source: &Source) -> NodeProcess {
    NodeProcess::start(source.record.layout.base(), &[])
}

fn post(node: &NodeProcess, path: &str, body: &[u8]) -> Reply {
    let url = node.url();
    let address = url.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(&[head.as_bytes(), body].concat()).unwrap();
    read_reply(stream, false)
}

fn range(source: &Source, from: usize, until: usize) -> String {
    format!("range={},{}", source.frame(from), source.frame(until))
}

/// A picture in gray, scaled to the size of the source's.
fn gray(png: &[u8]) -> Vec<u8> {
    let mut command = Command::new("ffmpeg");
    command.args("-nostdin -v error -f png_pipe -i - -pix_fmt gray -f rawvideo".split(' '));
    run(command.args(["-s", &format!("{WIDTH}x{HEIGHT}"), "-"]), png).0
}

#[test]
fn transitions_are_served_and_previewed_and_bad_ones_refused() {
    let source = record(PLAIN);
    let node = serve(&source);
    let two = format!("{}&{}", range(&source, 30, 100), range(&source, 200, 290));
    let cut = node.get(&format!("/cut/ch/source.ts?{two}&transition=diamond,1"));
    assert_eq!((cut.status, cut.complete), (200, true), "{}", cut.text());
    assert_eq!(decode_count(&cut.body), 130);
    let preview = node.get(&format!("/cut/preview/ch/source.ts?{two}&transition=fade,0.5"));
    assert_eq!((preview.status, preview.complete), (200, true), "{}", preview.text());
    assert_eq!(decode_count(&preview.body), 15);
    let mp4 = node.get(&format!("/cut/ch/source.ts?{two}&type=mp4"));
    assert_eq!((mp4.status, mp4.header("content-type")), (200, "video/mp4"));
    assert_eq!(decode(&mp4.body).0, (30..100).chain(200..290).collect::<Vec<_>>());
    let by_length = node.get(&format!("/cut/ch/source.ts?range={}+0.5s", source.frame(30)));
    assert_eq!(decode(&by_length.body).0, (30..45).collect::<Vec<_>>());
    for (query, code) in [
        (format!("/cut/ch/source.ts?{two}&transition=nosuch,1"), "bad_parameter"),
        (format!("/cut/ch/source.ts?{two}&transition=fade"), "bad_parameter"),
        (format!("/cut/ch/source.ts?{two}&transition=fade,2.5"), "bad_parameter"),
        (format!("/cut/ch/source.ts?{two}&transition=fade,1&transition=fade,1"), "bad_parameter"),
        (format!("/cut/ch/source.ts?{two}&transition=fade,1&type=rough"), "no_transitions"),
        (format!("/cut/ch/source.ts?{two}&type=archive"), "not_one_range"),
        (format!("/cut/preview/ch/source.ts?{two}"), "bad_parameter"),
        (format!("/cut/preview/ch/source.ts?{two}&transition="), "bad_parameter"),
        ("/cut/ch/source.ts?range=2026-01-02T03:00:00+5".to_owned(), "bad_parameter"),
    ] {
        let refused = node.get(&query);
        assert_eq!((refused.status, refused.json()["code"].as_str()), (400, Some(code)), "{query}");
    }
    node.stop();
}

fn decode_count(video: &[u8]) -> usize {
    super::packets(video).video.len()
}

#[test]
fn archives_are_written_for_each_stretch_without_holes() {
    let source = record(PLAIN);
    std::fs::remove_file(source.path(3)).unwrap();
    let node = serve(&source);
    let (start, end) = (source.frame(30), source.frame(300));
    let body = format!(r#"{{"race": ["{start}", "{end}"], "nothing": ["2031-01-01", "2031-01-02"]}}"#);
    let written = post(&node, "/generate_videos/ch/source", body.as_bytes());
    assert_eq!((written.status, written.complete), (200, true), "{}", written.text());
    let names = ["ch_source_race_0.mkv", "ch_source_race_1.mkv"];
    assert_eq!(written.json(), serde_json::json!(names));
    let base = source.record.layout.base();
    let shown = names.map(|name| decode(&std::fs::read(base.join(name)).unwrap()).0);
    assert_eq!(shown, [(0..180).collect::<Vec<_>>(), (240..300).collect()]);
    assert_eq!(node.get("/files").json(), serde_json::json!(["ch"]));
    assert_eq!(post(&node, "/generate_videos/ch/source", b"{}").json(), serde_json::json!([]));
    for (body, status, code) in [
        (r#"["race"]"#, 400, "bad_parameter"),
        (r#"{"race": ["x", "y"]}"#, 400, "bad_time"),
        (r#"{"race": ["2026-01-02", "2026-01-01"]}"#, 400, "end_before_start"),
        (r#"{"../race": ["2026-01-01", "2026-01-02"]}"#, 403, "bad_name"),
        (r#"{".race": ["2026-01-01", "2026-01-02"]}"#, 403, "bad_name"),
    ] {
        let refused = post(&node, "/generate_videos/ch/source", body.as_bytes());
        assert_eq!((refused.status, refused.json()["code"].as_str()), (status, Some(code)), "{body}");
    }
    assert_eq!(post(&node, "/generate_videos/ch/none", b"{}").status, 404);
    let left: Vec<_> = std::fs::read_dir(base).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().starts_with(".video")), "{left:?}");
    node.stop();
}

#[test]
fn a_thumbnail_is_the_frame_cropped_and_under_its_template() {
    let source = record(Recipe { seconds: 4, ..PLAIN });
    let node = serve(&source);
    let path = format!("/thumbnail/ch/source.png?timestamp={}", source.frame(85));
    let whole = node.get(&path);
    assert_eq!((whole.status, whole.header("content-type")), (200, "image/png"), "{}", whole.text());
    assert_eq!(number(&gray(&whole.body)), 85);
    // 85 is 0b000001010101: the right half has the bits 010101.
    let right = gray(&node.get(&format!("{path}&crop=96,0,192,64")).body);
    let bars: Vec<bool> = (0..6).map(|bar| right[HEIGHT / 2 * WIDTH + bar * 32 + 16] > 128).collect();
    assert_eq!(bars, [false, true, false, true, false, true]);

    // A template of 384 x 128: black on the left, a window on the right.
    let template = "color=black:s=384x128,format=rgba,geq=r=0:g=0:b=0:a='if(lt(X,192),255,0)'";
    let mut command = Command::new("ffmpeg");
    command.args(["-nostdin", "-v", "error", "-f", "lavfi", "-i", template, "-frames:v", "1", "-f", "image2pipe"]);
    let template = run(command.args(["-c:v", "png", "-"]), &[]).0;
    let framed = post(&node, &format!("{path}&location=192,0,384,128"), &template);
    assert_eq!(framed.status, 200, "{}", framed.text());
    let shown = gray(&framed.body);
    let row = &shown[HEIGHT / 2 * WIDTH..][..WIDTH];
    assert!(row[..92].iter().all(|value| *value < 10), "{row:?}");
    let bars: Vec<bool> = (0..12).map(|bar| row[96 + bar * 8 + 4] > 128).collect();
    let expected: Vec<bool> = (0..12).map(|bit| 85 >> (11 - bit) & 1 == 1).collect();
    assert_eq!(bars, expected, "{row:?}");

    // The same by name, its place told beside it.
    let templates = source.record.layout.own_dir().join("templates");
    std::fs::create_dir_all(&templates).unwrap();
    std::fs::write(templates.join("half.png"), &template).unwrap();
    let about = r#"{"location": [192, 0, 384, 128], "attribution": "by hand"}"#;
    std::fs::write(templates.join("half.json"), about).unwrap();
    std::fs::write(templates.join("bad.png"), &template).unwrap();
    std::fs::write(templates.join("bad.json"), r#"{"location": [192, 0, 100, 128]}"#).unwrap();
    let named = node.get(&format!("{path}&template=half"));
    assert_eq!((named.status, gray(&named.body)), (200, shown.clone()));
    let elsewhere = node.get(&format!("{path}&template=half&location=0,0,192,128"));
    assert_eq!(elsewhere.status, 200);
    assert_ne!(gray(&elsewhere.body), shown);

    // The database's go before files: they are what videos get.
    let keep = |name: &str, location: [u32; 4]| {
        let image = base64::engine::general_purpose::STANDARD.encode(&template);
        let body = serde_json::json!({
            "name": name, "description": "", "attribution": "", "crop": [0, 0, 192, 64], "location": location,
            "image": image,
        });
        let kept = crate::events::send(&node, "POST", "/thrimshim/add-template", None, &body);
        assert_eq!(kept.status, 201, "{}", kept.text());
    };
    keep("of all", [192, 0, 384, 128]);
    let named = node.get(&format!("{path}&template=of%20all"));
    assert_eq!((named.status, gray(&named.body)), (200, shown.clone()));
    keep("half", [0, 0, 192, 128]);
    assert_eq!(gray(&node.get(&format!("{path}&template=half")).body), gray(&elsewhere.body));
    keep("odd", [192, 0, 100, 128]);

    for (reply, status, code) in [
        (node.get(&format!("{path}&template=odd")), 400, "bad_parameter"),
        (node.get(&format!("{path}&template=bad")), 400, "bad_framing"),
        (node.get(&format!("{path}&template=half&location=0,0,385,9")), 400, "bad_framing"),
        (node.get(&format!("{path}&template=..%2Fhalf")), 403, "bad_name"),
        (post(&node, &format!("{path}&template=half"), &template), 400, "bad_parameter"),
        (node.get(&format!("{path}&crop=0,0,193,64")), 400, "bad_framing"),
        (node.get(&format!("{path}&crop=5")), 400, "bad_parameter"),
        (node.get(&format!("{path}&template=plain")), 404, "absent"),
        (node.get("/thumbnail/ch/source.png"), 400, "bad_parameter"),
        (post(&node, &path, b"no picture"), 400, "bad_framing"),
        (post(&node, &format!("{path}&location=0,0,385,9"), &template), 400, "bad_framing"),
    ] {
        assert_eq!((reply.status, reply.json()["code"].as_str()), (status, Some(code)));
    }
    assert_eq!(number(&picture(85)), 85);
    node.stop();
}

#[test]
fn a_waveform_shows_what_is_loud_what_is_silent_and_what_is_missing() {
    for mp4 in [false, true] {
        // The tone of the source is silenced from 6 s on.
        let quiet = &["-af", "volume=0:enable='gte(t,6)'"];
        let source = record(Recipe { mp4, extra: quiet, ..PLAIN });
        std::fs::remove_file(source.path(1)).unwrap();
        let node = serve(&source);
        let range = format!("start={}&end={}", source.frame(0), source.frame(0).plus_micros(12_000_000));
        let peaks = || -> Vec<Option<u64>> {
            let answer = node.get(&format!("/waveform/ch/source.json?{range}&size=24x1"));
            assert_eq!(answer.status, 200, "{}", answer.text());
            answer.json()["peaks"].as_array().unwrap().iter().map(|peak| peak.as_u64()).collect()
        };
        let heard = peaks();
        let loud = |peak: &Option<u64>| peak.is_some_and(|peak| (20..45).contains(&peak));
        // Half seconds; the tone's own segments begin and end a little beside.
        assert!(heard[..4].iter().chain(&heard[8..12]).all(loud), "{heard:?}");
        assert_eq!(heard[4..7], [None, None, None], "{heard:?}");
        assert!(heard[13..].iter().all(|peak| peak.is_some_and(|peak| peak < 3)), "{heard:?}");
        // What is known is not listened to again: the files need not be there to be read.
        let side = source.record.layout.own_dir().join("peaks/ch/source");
        assert_eq!(std::fs::read_dir(&side).unwrap().count(), 2);
        for at in [0, 2, 5] {
            std::fs::write(source.path(at), b"").unwrap();
        }
        assert_eq!(peaks(), heard);
        let picture = node.get(&format!("/waveform/ch/source.png?{range}&size=300x40"));
        assert_eq!((picture.status, picture.header("content-type")), (200, "image/png"));
        let mut command = Command::new("ffmpeg");
        command.args("-nostdin -v error -f png_pipe -i - -pix_fmt rgba -f rawvideo -".split(' '));
        let pixels = run(&mut command, &picture.body).0;
        assert_eq!(pixels.len(), 300 * 40 * 4);
        let alpha = |x: usize, y: usize| pixels[(y * 300 + x) * 4 + 3];
        assert_eq!((alpha(10, 20), alpha(10, 0), alpha(75, 0), alpha(250, 0)), (255, 0, 120, 0));
        assert_eq!(node.get(&format!("/waveform/ch/source.png?{range}&size=0x5")).status, 400);
        node.stop();
    }
}
