//! The node's own page in a headless Chromium, against real nodes and the rehearsal source.
//!
//! The page knows nothing of its being tested: it is opened, keys are pressed, and what it shows is read. Which frame is on
//! the screen is read off the picture itself.

pub mod chromium;
mod cutting;
mod following;
mod hands;
mod keeping_up;
mod signing;
mod tasks;
mod watching;
mod week;

use std::path::{Path, PathBuf};
use std::time::Duration;

use chromium::Chromium;
use segvault::rehearsal::SourceHandle;
use serde_json::Value;

use crate::support::{NodeProcess, small_spec, source};

/// As much as the longest of these tests may take on a busy machine.
const SOURCE_SECONDS: u64 = 180;

/// A node that records a source as it goes on; both end with it.
struct Stage {
    source: SourceHandle,
    dir: tempfile::TempDir,
    more: String,
}

impl Stage {
    fn new(more: &str) -> Self {
        let more = more.to_owned();
        Self { source: source(&small_spec(), SOURCE_SECONDS, 1), dir: tempfile::tempdir().unwrap(), more }
    }

    fn base(&self) -> PathBuf {
        self.dir.path().join("node")
    }

    /// `listen` is an address of the node's own if it is to come back to it.
    fn node(&self, listen: &str) -> NodeProcess {
        let url = self.source.url();
        let channel = format!("[[channel]]\nname = \"c\"\nhls = {url:?}\nqualities = [\"source\"]\n{}", self.more);
        NodeProcess::start_with(&self.base(), &channel, |command| {
            command.args(["--set", &format!("node.listen={listen}")]);
        })
    }
}

const ANY_PORT: &str = "127.0.0.1:0";

/// The number of the frame on the screen, or null.
const FRAME: &str = r"
(() => {
  const video = document.querySelector('video');
  if (!video.videoWidth) return null;
  const canvas = document.createElement('canvas');
  [canvas.width, canvas.height] = [video.videoWidth, video.videoHeight];
  const paint = canvas.getContext('2d', { willReadFrequently: true });
  paint.drawImage(video, 0, 0);
  let number = 0;
  for (let cell = 25; cell >= 2; cell -= 1) {
    const x = Math.floor((cell + 0.5) * canvas.width / 32), y = Math.floor(canvas.height / 20);
    number = number * 2 + (paint.getImageData(x, y, 1, 1).data[0] > 128 ? 1 : 0);
  }
  return number;
})()";

/// The picture moves.
const PLAYS: &str = "document.querySelector('video')?.getVideoPlaybackQuality().totalVideoFrames > 2";
/// No seek is under way.
const SETTLED: &str = "document.querySelector('.screen').getAttribute('aria-busy') === 'false'";

impl Chromium {
    /// Presses a key, and waits for the picture that comes of it.
    fn go(&mut self, key: &str) {
        self.press(key);
        self.until(SETTLED);
        // A frame comes to the screen a moment after the page knows of it.
        self.value("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))");
    }

    fn frame(&mut self) -> u32 {
        let number = self.value(FRAME);
        number.as_u64().and_then(|number| u32::try_from(number).ok()).unwrap_or_else(|| panic!("no frame: {number}"))
    }

    fn text(&mut self, selector: &str) -> String {
        match self.value(&format!("document.querySelector({selector:?})?.textContent")) {
            Value::String(text) => text,
            other => panic!("{selector} has no text: {other}"),
        }
    }

    /// Types into a field of the job that is to be filed, in place of what stands there.
    fn fill(&mut self, name: &str, text: &str) {
        self.value(&format!("{{ const of = document.querySelector('.job [name={name}]'); of.focus(); of.select(); }}"));
        self.type_in(text);
    }

    /// Nothing was said that somebody should look into.
    fn assert_silent(&self) {
        let said = self.said();
        assert!(said.is_empty(), "the console: {said:#?}");
    }
}

/// Programs that want a processor, for each that there is, over the last minute. Where others take it, nothing is soon.
fn load() -> f64 {
    let told = std::fs::read_to_string("/proc/loadavg").unwrap();
    let load: f64 = told.split(' ').next().unwrap().parse().unwrap();
    load / std::thread::available_parallelism().unwrap().get() as f64
}

/// A machine is quiet below this load.
const QUIET: f64 = 0.7;

/// Where pictures of the page are left for people.
pub fn kept_in() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("page")
}

/// So long the source plays before a page is opened that is to have something to show.
const SOMETHING: Duration = Duration::from_secs(4);

fn wait_for_something(node: &NodeProcess) {
    let segments = SOMETHING.as_millis() / small_spec().segment.as_millis();
    crate::support::eventually("something is recorded", || {
        (node.acknowledged("source").len() as u128 > segments).then_some(())
    });
}
