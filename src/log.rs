//! Structured logs on standard error: one event, one line.
//!
//! Promises: logging never blocks and never fails the caller; what is dropped under a burst is counted and said; a
//! line carries the time at which the event was logged, however long it waited; no character from outside ends a line
//! or moves a terminal's cursor; the level can change while the process runs.
//! Never: static, except for the bridge that the crate `log` needs, which is set up once.

mod level;
mod line;
mod trace;

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use slog::{Drain, FnValue, Logger, Never, OwnedKVList, Record, RecordStatic, b, o};
use slog_async::{AsyncCore, AsyncGuard};

pub use level::{Format, Level, LevelSwitch, TooManyModules, UnknownWord};

use crate::clock::Clock;
use crate::model::Timestamp;

/// Lines that may wait for a slow standard error: some seconds of a bad day, in about 2 MB.
const QUEUED_LINES: usize = 8192;
/// How long the last lines may take to get out at exit, when nobody reads standard error any more.
const FLUSH_WITHIN: Duration = Duration::from_secs(2);

/// How many lines were dropped since the start because standard error was too slow.
#[derive(Debug, Clone, Default)]
pub struct DropCount(Arc<AtomicU64>);

impl DropCount {
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn add(&self, lines: u64) {
        self.0.fetch_add(lines, Ordering::Relaxed);
    }
}

/// The running log. Dropping it flushes what is queued, within two seconds; keep it until the process exits.
pub struct Log {
    pub logger: Logger,
    pub level: LevelSwitch,
    pub dropped: DropCount,
    guard: Option<AsyncGuard>,
}

impl Log {
    /// Starts the thread that writes to standard error.
    pub fn start(format: Format, level: Level, clock: Clock) -> Self {
        let terminal = io::stderr().is_terminal();
        let colour = terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let format = match format {
            Format::Auto if terminal => Format::Terminal,
            Format::Auto => Format::Json,
            chosen => chosen,
        };
        Self::start_on(format, level, clock, io::stderr(), colour)
    }

    fn start_on(format: Format, level: Level, clock: Clock, out: impl Write + Send + 'static, colour: bool) -> Self {
        let (core, guard) = match format {
            Format::Terminal => queue(line::terminal(out, colour)),
            Format::Json | Format::Auto => queue(line::json(out)),
        };
        let (level, dropped) = (LevelSwitch::new(level), DropCount::default());
        let gate = Gate { level: level.clone(), clock, core, dropped: dropped.clone(), unsaid: AtomicU64::new(0) };
        Self { logger: Logger::root(gate, o!()), level, dropped, guard: Some(guard) }
    }

    /// Sends the warnings and errors of libraries, which log through the crate `log`, here too. Process-wide: only the
    /// first call counts.
    pub fn bridge_libraries(&self) {
        let logger =
            self.logger.new(o!("target" => FnValue(|record: &Record<'_>| line::stamp_of(record).1.to_owned())));
        if slog_stdlog::init_with_level(::log::Level::Warn).is_ok() {
            slog_scope::set_global_logger(logger).cancel_reset();
        }
    }

    /// Logs each panic as one line instead of the several that the standard hook prints. Process-wide.
    pub fn report_panics(&self) {
        let logger = self.logger.clone();
        std::panic::set_hook(Box::new(move |panic| {
            let what = panic.payload_as_str().unwrap_or("(no text)");
            let at = panic.location().map(ToString::to_string).unwrap_or_default();
            let thread = std::thread::current();
            slog::error!(logger, "panic"; "what" => what, "at" => at, "in" => trace::here(), "thread" => thread.name().unwrap_or("?"));
        }));
    }
}

/// Starts the writer's thread. A line that cannot be written has nowhere else to go.
fn queue(drain: impl Drain<Ok = (), Err = io::Error> + Send + 'static) -> (AsyncCore, AsyncGuard) {
    AsyncCore::custom(drain.ignore_res()).chan_size(QUEUED_LINES).thread_name("log".into()).build_with_guard()
}

impl Drop for Log {
    fn drop(&mut self) {
        let guard = self.guard.take();
        let (done, flushed) = mpsc::channel();
        // Dropping the guard waits for the writer without limit; a reader that has stalled must not hold up the exit.
        let flush = std::thread::Builder::new().name("log-flush".into()).spawn(move || {
            drop(guard);
            // Nobody listens any more if it took too long.
            let _ = done.send(());
        });
        if flush.is_ok() {
            let _ = flushed.recv_timeout(FLUSH_WITHIN);
        }
    }
}

/// Before the queue: the level, the time, the count of what did not fit.
struct Gate {
    level: LevelSwitch,
    clock: Clock,
    core: AsyncCore,
    dropped: DropCount,
    /// Dropped lines that no line has told of yet.
    unsaid: AtomicU64,
}

impl Drain for Gate {
    type Ok = ();
    type Err = Never;

    fn log(&self, record: &Record<'_>, values: &OwnedKVList) -> Result<(), Never> {
        let level = Level::of(record.level());
        if !self.level.lets_anybody(level) || !self.level.lets(level, record.module()) {
            return Ok(());
        }
        if self.send(record, values) {
            self.say_what_was_dropped();
        } else {
            self.dropped.add(1);
            self.unsaid.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    fn is_enabled(&self, level: slog::Level) -> bool {
        self.level.lets_anybody(Level::of(level))
    }
}

impl Gate {
    /// The tag travels with a record to the writer's thread; the time travels in it.
    fn send(&self, record: &Record<'_>, values: &OwnedKVList) -> bool {
        let tag = line::stamped_tag(self.clock.now(), record.tag());
        let stamped = RecordStatic { location: record.location(), tag: &tag, level: record.level() };
        self.core.log(&Record::new(&stamped, record.msg(), slog::BorrowedKV(&record.kv())), values).is_ok()
    }

    fn say_what_was_dropped(&self) {
        let count = self.unsaid.swap(0, Ordering::Relaxed);
        if count == 0 {
            return;
        }
        let told = self.send(
            &slog::record!(slog::Level::Warning, "", &format_args!("log lines dropped"), b!("count" => count)),
            &o!().into(),
        );
        if !told {
            self.unsaid.fetch_add(count, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use slog::{debug, error, info, warn};

    use super::*;

    /// A writer whose text can be read, and which can be made to stall.
    #[derive(Clone, Default)]
    struct Page {
        text: Arc<Mutex<Vec<u8>>>,
        stalled: Arc<Mutex<()>>,
    }

    impl Write for Page {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _while_stalled = self.stalled.lock().unwrap();
            self.text.lock().unwrap().extend(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Page {
        fn lines(&self) -> Vec<String> {
            String::from_utf8(self.text.lock().unwrap().clone())
                .unwrap()
                .split_terminator('\n')
                .map(str::to_owned)
                .collect()
        }
    }

    fn start(format: Format, level: Level, colour: bool) -> (Log, Page) {
        let page = Page::default();
        let (clock, _) = Clock::settable("2026-01-02T03:04:05.678901".parse().unwrap());
        (Log::start_on(format, level, clock, page.clone(), colour), page)
    }

    fn one_line(format: Format, colour: bool, say: impl FnOnce(&Logger)) -> String {
        let (log, page) = start(format, Level::Info, colour);
        say(&log.logger);
        drop(log);
        let lines = page.lines();
        assert_eq!(lines.len(), 1, "{lines:#?}");
        lines.into_iter().next().unwrap()
    }

    #[test]
    fn a_json_line_is_one_object() {
        let line = one_line(Format::Json, false, |log| {
            warn!(log.new(o!("channel" => "gdq")), "segment lost"; "seconds" => 2.5, "count" => 3);
        });
        let object: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(
            object,
            serde_json::json!({
                "ts": "2026-01-02T03:04:05.678901Z", "level": "warning", "msg": "segment lost",
                "channel": "gdq", "seconds": 2.5, "count": 3
            })
        );
    }

    #[test]
    fn a_terminal_line_reads_from_left_to_right() {
        let say = |log: &Logger| error!(log.new(o!("channel" => "gdq")), "disk full"; "free" => 0, "dir" => "/x");
        assert_eq!(
            one_line(Format::Terminal, false, say),
            "2026-01-02T03:04:05.678 error   disk full, channel: gdq, free: 0, dir: /x"
        );
        let coloured = one_line(Format::Terminal, true, say);
        assert!(coloured.contains("\u{1b}[31merror"), "{coloured:?}");
    }

    #[test]
    fn nothing_from_outside_breaks_a_line_or_moves_the_cursor() {
        let hostile = "a\nb\r\u{1b}[2J\u{0}\u{7f}\u{85}\u{9b}\u{2028}\u{202e}\u{2066}é\"\\";
        for format in [Format::Json, Format::Terminal] {
            for colour in [false, true] {
                let line = one_line(format, colour, |log| {
                    info!(log.new(o!("inherited" => hostile)), "{hostile}"; "value" => hostile, "shown" => %hostile, "debug" => ?hostile);
                });
                let plain = ["\u{1b}[1m", "\u{1b}[31m", "\u{1b}[32m", "\u{1b}[0m"]
                    .iter()
                    .fold(line.clone(), |line, code| line.replace(code, ""));
                let bad = |c: char| {
                    c.is_control() || ('\u{2028}'..='\u{202e}').contains(&c) || ('\u{2066}'..='\u{2069}').contains(&c)
                };
                assert!(!plain.contains(bad), "{line:?}");
                assert!(line.contains('é'), "{line:?}");
                if format == Format::Json {
                    let object: serde_json::Value = serde_json::from_str(&line).unwrap();
                    assert_eq!(object["value"], hostile);
                    assert_eq!(object["msg"], hostile);
                }
            }
        }
    }

    #[test]
    fn the_level_can_change_while_it_runs() {
        let (log, page) = start(Format::Terminal, Level::Warning, false);
        info!(log.logger, "unheard");
        assert_eq!(log.level.more(), Level::Info);
        info!(log.logger, "heard");
        log.level.set(Level::Error);
        warn!(log.logger, "unheard");
        assert_eq!(log.level.less(), Level::Error);
        log.level.set(Level::Trace);
        assert_eq!(log.level.more(), Level::Trace);
        debug!(log.logger, "heard too");
        drop(log);
        let heard: Vec<String> = page.lines().iter().map(|line| line[32..].to_owned()).collect();
        assert_eq!(heard, ["heard", "heard too"]);
    }

    #[test]
    fn a_burst_is_dropped_counted_and_told() {
        let (log, page) = start(Format::Json, Level::Info, false);
        let sent = QUEUED_LINES as u64 + 1000;
        let stalled = page.stalled.clone();
        let stall = stalled.lock().unwrap();
        for at in 0..sent {
            info!(log.logger, "burst"; "at" => at);
        }
        // One line may be in the writer's hands already.
        let dropped = log.dropped.get();
        assert!((999..=1000).contains(&dropped), "{dropped}");
        drop(stall);
        let deadline = std::time::Instant::now() + Duration::from_secs(10);
        while page.lines().len() as u64 != sent - dropped && std::time::Instant::now() < deadline {
            std::thread::yield_now();
        }
        info!(log.logger, "after");
        assert_eq!(log.dropped.get(), dropped);
        drop(log);
        let lines = page.lines();
        assert_eq!(lines.len() as u64, sent - dropped + 2);
        let told: serde_json::Value = serde_json::from_str(lines.last().unwrap()).unwrap();
        assert_eq!((&told["msg"], &told["count"]), (&"log lines dropped".into(), &dropped.into()));
    }

    #[test]
    fn a_stalled_reader_does_not_hold_up_the_exit() {
        let (log, page) = start(Format::Json, Level::Info, false);
        let stalled = page.stalled.clone();
        let _stall = stalled.lock().unwrap();
        info!(log.logger, "stuck");
        let started = std::time::Instant::now();
        drop(log);
        assert!(started.elapsed() < FLUSH_WITHIN * 3);
    }

    #[test]
    fn libraries_are_heard_from_warnings_on() {
        let (log, page) = start(Format::Json, Level::Trace, false);
        log.bridge_libraries();
        ::log::info!("unheard");
        ::log::warn!("heard\n{}", 1);
        drop(log);
        let ours: Vec<String> = page.lines().into_iter().filter(|line| line.contains("heard")).collect();
        assert_eq!(ours.len(), 1, "{ours:#?}");
        let object: serde_json::Value = serde_json::from_str(&ours[0]).unwrap();
        assert_eq!((&object["msg"], &object["level"]), (&"heard\n1".into(), &"warning".into()));
        assert_eq!(object["target"], "segvault::log::tests");
    }

    #[test]
    fn a_panic_is_one_line() {
        let (log, page) = start(Format::Json, Level::Info, false);
        let before = std::panic::take_hook();
        log.report_panics();
        assert!(std::panic::catch_unwind(|| panic!("first\nsecond")).is_err());
        std::panic::set_hook(before);
        drop(log);
        let line = page.lines().into_iter().find(|line| line.contains("second")).unwrap();
        let object: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!((&object["msg"], &object["what"]), (&"panic".into(), &"first\nsecond".into()));
        assert!(object["at"].as_str().unwrap().starts_with("src/log.rs:"), "{line}");
    }
}
