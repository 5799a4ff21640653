//! The unchanged editor pages of the existing system, served beside a node: a row is loaded, looked at, edited and submitted, and
//! the video appears.
//!
//! The pages are not ours to copy: WUBLOADER_DIR names a checkout of wubloader, whose `thrimbletrimmer` directory needs no
//! build. nginx serves it and hands the rest on to the node, as it does there.

use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use super::{Crew, copy_tree, event, steps, time, wait_for};
use crate::cut::{decode, plain_record};
use crate::db::Ground;
use crate::events::send;
use crate::page::chromium::Chromium;
use crate::support::{NodeProcess, eventually, free_address};

/// What the pages ask for and do without: signing in with Google, chat, and a picture for the browser's tab.
const DISPENSABLE: [&str; 3] = ["apis.google.com", "chat.json", "favicon.ico"];
/// The pages show a minute before an event, and two after it.
const SECONDS: u32 = 240;
/// The range that is set, in the player's time. The pages work it out from what hls.js makes of each segment's beginning, and come
/// to another millisecond each time.
const END: &str = "document.querySelector('.range-definition-end').value.startsWith('01:07.2')";

struct Nginx {
    child: Child,
    address: String,
}

impl Nginx {
    /// The locations are those of the existing system's own configuration.
    fn start(dir: &Path, pages: &Path, address: &str, node: &NodeProcess) -> Self {
        let config = dir.join("nginx.conf");
        let text = format!(
            "daemon off; worker_processes 1; pid {0}/nginx.pid; error_log {0}/nginx.log; user root;\n\
             events {{ worker_connections 256; }}\n\
             http {{ include /etc/nginx/mime.types; access_log off; client_max_body_size 20M; proxy_read_timeout 300s;\n\
             server {{ listen {address}; absolute_redirect off; root {1};\n\
             location = / {{ return 301 /thrimbletrimmer/; }}\n\
             location /thrimbletrimmer {{ }}\n\
             location /thrimshim {{ proxy_pass {2}; }}\n\
             location / {{ proxy_pass {2}; }} }} }}\n",
            dir.display(),
            pages.display(),
            node.url()
        );
        std::fs::write(&config, text).unwrap();
        let path = std::env::var("PATH").unwrap();
        let mut command = Command::new("nginx");
        command.env("PATH", format!("{path}:/usr/sbin:/usr/local/sbin")).arg("-c").arg(&config);
        let child = command.stderr(Stdio::null()).spawn().expect("there is an nginx; `make deps` installs it");
        eventually("nginx listens", || TcpStream::connect(address).ok());
        Self { child, address: address.to_owned() }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // It ends its workers only when it is asked to end.
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let _ = self.child.wait();
    }
}

/// An editor at the browser.
struct Editor {
    browser: Chromium,
    pictures: PathBuf,
}

impl Editor {
    fn open(&mut self, url: &str) {
        self.browser.open(url);
        self.browser.until("document.readyState === 'complete'");
    }

    fn click(&mut self, selector: &str) {
        self.browser.value(&format!("document.querySelector({selector:?}).click()"));
    }

    /// Types into a field, in place of what stands there.
    fn fill(&mut self, selector: &str, text: &str) {
        self.browser.value(&format!("{{ const it = document.querySelector({selector:?}); it.focus(); it.select(); }}"));
        self.browser.type_in(text);
        self.browser.value(&format!("document.querySelector({selector:?}).dispatchEvent(new Event('change'))"));
    }

    fn choose(&mut self, selector: &str, value: &str) {
        let choose = format!(
            "{{ const it = document.querySelector({selector:?}); it.value = {value:?}; \
             it.dispatchEvent(new Event('change')); }}"
        );
        self.browser.value(&choose);
        self.browser.until(&format!("document.querySelector({selector:?}).value === {value:?}"));
    }

    /// Hands a file to a field for files.
    fn attach(&mut self, selector: &str, file: &Path) {
        let params = json!({ "expression": format!("document.querySelector({selector:?})") });
        let found = self.browser.tell("Runtime.evaluate", params);
        let files = json!({ "files": [file], "objectId": found["result"]["objectId"] });
        self.browser.tell("DOM.setFileInputFiles", files);
    }

    fn field(&mut self, selector: &str) -> String {
        self.browser.value(&format!("document.querySelector({selector:?}).value")).as_str().unwrap().to_owned()
    }

    fn until_shown(&mut self, image: &str) {
        self.browser.until(&format!("document.querySelector({image:?})?.naturalWidth > 0"));
    }

    /// The picture moves.
    fn plays(&mut self) {
        self.browser.until("document.querySelector('video').readyState >= 2");
        self.browser.value("{ document.querySelector('video').play(); }");
        self.browser.until("document.querySelector('video').getVideoPlaybackQuality().totalVideoFrames > 5");
        self.browser.value("document.querySelector('video').pause()");
    }

    fn seek(&mut self, seconds: f64) {
        self.browser.value(&format!("{{ document.querySelector('video').currentTime = {seconds}; }}"));
        self.browser.until("!document.querySelector('video').seeking");
    }

    fn answered(&mut self, says: &str) {
        self.browser.until(&format!(
            "document.querySelector('#submission-response').innerText.startsWith({says:?}) \
             || document.querySelector('#submission-response').classList.contains('submission-response-error')"
        ));
        let answer = self.browser.value("document.querySelector('#submission-response').innerText");
        assert!(answer.as_str().unwrap().starts_with(says), "{answer}");
    }

    fn picture(&mut self, name: &str) {
        self.browser.picture(&self.pictures.join(format!("{name}.png")));
    }

    /// Nothing was said that is about the node, and the pages show no error of theirs.
    fn assert_content(&mut self) {
        let mut said = self.browser.said();
        said.retain(|(_, what)| !DISPENSABLE.iter().any(|other| what.contains(other)));
        assert!(said.is_empty(), "the console: {said:#?}");
        let errors = self.browser.value("document.querySelector('#errors')?.innerText ?? ''");
        assert_eq!(errors, "", "what the page says of errors");
    }
}

/// A template that lets the frame through on its right half.
fn template(dir: &Path) -> PathBuf {
    let file = dir.join("template.png");
    let picture = "color=navy:s=384x128,format=rgba,geq=r='r(X,Y)':g='g(X,Y)':b='b(X,Y)':a='if(lt(X,192),255,0)'";
    let mut command = Command::new("ffmpeg");
    command.args(["-nostdin", "-v", "error", "-f", "lavfi", "-i", picture, "-frames:v", "1"]).arg(&file);
    assert!(command.status().unwrap().success());
    file
}

#[test]
#[ignore = "needs a checkout of wubloader: WUBLOADER_DIR"]
fn soak_the_existing_editors_pages() {
    let Some(checkout) = std::env::var_os("WUBLOADER_DIR") else {
        eprintln!("WUBLOADER_DIR names no checkout of wubloader: skipped");
        return;
    };
    let pages = PathBuf::from(checkout);
    assert!(pages.join("thrimbletrimmer/edit.html").exists(), "{} has no thrimbletrimmer", pages.display());
    let crew = Crew::new(Ground::sqlite());
    let source = plain_record(SECONDS);
    copy_tree(source.record.layout.base(), &crew.base("alpha"));
    let address = free_address();
    let terms = format!(
        "[events]\nchannel = \"ch\"\nbegins = \"2026-01-02T00:00:00\"\ntitle_header = \"GDQ\"\n\
         description_footer = \"Recorded live.\"\nupload_locations = [\"local\"]\n[auth]\norigins = [\"http://{address}\"]\n"
    );
    let node = crew.node("alpha", &crew.cutting(&terms));
    let nginx = Nginx::start(crew.dir.path(), &pages, &address, &node);
    let noted = json!({
        "id": "e1", "sheet_name": "Friday", "event_start": "2026-01-02T04:01:00", "event_end": "2026-01-02T04:01:20",
        "description": "A run", "notes": "Mind the gap", "tags": ["Day 1", "Run"],
    });
    assert_eq!(send(&node, "POST", "/api/v1/events", None, &noted).status, 201);
    let pictures = Path::new(env!("CARGO_TARGET_TMPDIR")).join("editor_pages");
    let mut editor = Editor { browser: Chromium::start(1400, 1600), pictures };

    watches(&mut editor, &nginx);
    adds_a_template(&mut editor, &nginx, &template(crew.dir.path()));
    let edit = nginx.url("/thrimbletrimmer/edit.html?id=e1");
    drafts(&mut editor, &edit);
    submits(&mut editor, &edit);

    let done = wait_for(&node, "e1", "DONE");
    assert_eq!((&done["video_title"], &done["error"]), (&json!("GDQ - The whole run"), &Value::Null));
    assert_eq!(done["video_description"], "Told by me\n\nThumbnail Credit: Bob\nRecorded live.");
    assert_eq!((&done["video_tags"], &done["thumbnail_mode"]), (&json!(["Day 1", "Run", "more"]), &json!("TEMPLATE")));
    let range = [0, 1].map(|side| time(done["video_ranges"][0][side].as_str().unwrap()));
    let asked = ["2026-01-02T04:01:02.5", "2026-01-02T04:01:07.25"].map(time);
    for (found, asked) in range.into_iter().zip(asked) {
        assert!(found.micros_since(asked).abs() < 50_000, "{found} for {asked}");
    }
    let video = crew.only_video();
    let (shown, words) = decode(&std::fs::read(&video).unwrap());
    assert_eq!((shown, words.as_str()), (source.expected(range[0], range[1]), ""));
    assert!(video.with_extension("png").exists(), "its thumbnail is beside it");

    modifies(&mut editor, &edit);
    let changed = eventually("the change is published", || {
        Some(event(&node, "e1")).filter(|event| event["state"] == "DONE" && event["video_title"] == "GDQ - Better said")
    });
    assert_eq!(changed["video_link"], done["video_link"]);
    let done_to_it = steps(&node, "e1");
    assert_eq!(done_to_it, ["add", "draft", "edit", "claim", "finalize", "finish", "modify", "push"]);
    resets(&mut editor, &node, &edit);
    drop(nginx);
    node.stop();
}

/// The page that plays a stream.
fn watches(editor: &mut Editor, nginx: &Nginx) {
    editor.open(&nginx.url("/"));
    assert_eq!(editor.browser.value("location.pathname"), "/thrimbletrimmer/");
    editor.open(&nginx.url("/thrimbletrimmer/?stream=ch&start=2026-01-02T04:00:00&end=2026-01-02T04:00:20"));
    editor.plays();
    let download = editor.browser.value("document.querySelector('#download').href");
    let status = editor.browser.value(&format!("fetch({download}).then((answer) => answer.status)"));
    assert_eq!(status, 200, "{download}");
    editor.picture("watch");
    editor.assert_content();
}

fn adds_a_template(editor: &mut Editor, nginx: &Nginx, image: &Path) {
    editor.open(&nginx.url("/thrimbletrimmer/thumbnail_manager.html"));
    editor.fill("#template-new-name", "half");
    editor.fill("#template-new-description", "The run on the right");
    editor.fill("#template-new-attribution", "Bob");
    editor.attach("#template-new-image", image);
    for (edge, pixels) in [
        ("crop-x-start", 0),
        ("crop-y-start", 0),
        ("crop-x-end", 192),
        ("crop-y-end", 64),
        ("location-x-start", 192),
        ("location-y-start", 0),
        ("location-x-end", 384),
        ("location-y-end", 128),
    ] {
        editor.fill(&format!("#template-new-{edge}"), &pixels.to_string());
    }
    editor.click("#template-new-form button");
    editor.browser.until("document.querySelector('#template-list-data-0')?.innerText.includes('half')");
    editor.browser.value("showPreview(0)");
    editor.until_shown(".template-list-preview");
    editor.picture("templates");
    editor.assert_content();
}

fn drafts(editor: &mut Editor, edit: &str) {
    editor.open(edit);
    editor.plays();
    editor.until_shown("#waveform");
    assert_eq!(editor.browser.value("document.querySelector('#video-info-editor-notes').innerText"), "Mind the gap");
    editor.browser.until("document.querySelector('#video-info-thumbnail-template').value === 'half'");
    editor.seek(62.5);
    editor.click(".range-definition-set-start");
    editor.seek(67.25);
    editor.click(".range-definition-set-end");
    let fields = [".range-definition-start", ".range-definition-end"].map(|field| editor.field(field));
    assert_eq!(fields, ["01:02.500", "01:07.250"]);
    editor.fill("#video-info-title", "The whole run");
    editor.choose("#video-info-thumbnail-mode", "NONE");
    editor.click("#save-button");
    editor.answered("Saved draft");
    editor.picture("draft");
    editor.assert_content();
}

fn submits(editor: &mut Editor, edit: &str) {
    editor.open(edit);
    // The draft is there.
    editor.browser.until(END);
    assert_eq!(editor.field("#video-info-title"), "The whole run");
    editor.plays();
    editor.fill("#video-info-description", "Told by me");
    editor.fill("#video-info-tags", "Day 1,Run,more");
    editor.choose("#video-info-thumbnail-mode", "TEMPLATE");
    editor.browser.until("document.querySelector('#video-info-thumbnail-crop-2').value === '192'");
    editor.fill("#video-info-thumbnail-time", "01:04.000");
    editor.until_shown("#video-info-thumbnail-template-video-source-image");
    editor.until_shown("#video-info-thumbnail-template-overlay-image");
    editor.click("#video-info-thumbnail-template-preview-generate");
    editor.until_shown("#video-info-thumbnail-template-preview-image");
    let download = editor.browser.value("document.querySelector('#download-link').href");
    let status = editor.browser.value(&format!("fetch({download}).then((answer) => answer.status)"));
    assert_eq!(status, 200, "{download}");
    editor.picture("edited");
    editor.click("#submit-button");
    editor.answered("Submitted edit");
    editor.picture("submitted");
    editor.assert_content();
}

/// Of what is published, only the words change.
fn modifies(editor: &mut Editor, edit: &str) {
    editor.open(edit);
    editor.browser.until(END);
    assert_eq!(editor.browser.value("document.querySelector('.range-definition-start').disabled"), true);
    editor.fill("#video-info-title", "Better said");
    editor.click("#submit-changes-button");
    editor.answered("Submitted changes");
    editor.picture("modified");
    editor.assert_content();
}

fn resets(editor: &mut Editor, node: &NodeProcess, edit: &str) {
    editor.open(edit);
    editor.browser.until(END);
    editor.click("#reset-entire-video");
    editor.click("#data-correction-force-reset-yes");
    editor
        .browser
        .until("document.querySelector('#data-correction-cancel-response').innerText === 'Row has been reset.'");
    assert_eq!(event(node, "e1")["state"], "UNEDITED");
    // And is linked by hand to where it is.
    editor.open(edit);
    editor.browser.until(END);
    editor.click("#manual-link-update");
    editor.fill("#data-correction-manual-link-entry", "https://example.org/video");
    editor.click("#data-correction-manual-link-submit");
    editor.browser.until(
        "document.querySelector('#data-correction-manual-link-response').innerText.startsWith('Manual link set to')",
    );
    assert_eq!(event(node, "e1")["video_link"], "https://example.org/video");
    editor.picture("linked");
    editor.assert_content();
}
