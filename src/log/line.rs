//! Turns a record into one line of text: JSON, or for a terminal.
//!
//! Promises: one write per record, ending in the only newline of the line; characters that end a line, start an escape
//! sequence or reverse the text are escaped.

use std::cell::RefCell;
use std::io::{self, Write};

use slog::{Drain, FnValue, OwnedKVList, PushFnValue, Record, o};
use slog_term::{Decorator, FullFormat, RecordDecorator};

use super::{Level, Timestamp};

/// Puts the time of logging in front of a record's tag.
pub(super) fn stamped_tag(now: Timestamp, tag: &str) -> String {
    format!("{} {tag}", now.micros())
}

/// The time of logging and the tag proper.
pub(super) fn stamp_of<'r>(record: &'r Record<'_>) -> (Timestamp, &'r str) {
    let (micros, tag) = record.tag().split_once(' ').unwrap_or(("0", record.tag()));
    (Timestamp::from_micros(micros.parse().unwrap_or(0)), tag)
}

/// One object per line: `ts` (RFC 3339, µs), `level`, `msg`, then the logger's and the record's own fields.
pub(super) fn json<W: Write + Send + 'static>(out: W) -> impl Drain<Ok = (), Err = io::Error> + Send {
    slog_json::Json::new(JsonLine { out, line: Vec::new() })
        .add_key_value(o!(
            "ts" => FnValue(|record: &Record<'_>| format!("{}Z", stamp_of(record).0)),
            "level" => FnValue(|record: &Record<'_>| Level::of(record.level()).as_str()),
            "msg" => PushFnValue(|record: &Record<'_>, value| value.emit(record.msg())),
        ))
        .set_flush(true)
        .build()
}

/// `2026-01-02T03:04:05.678 warning message, field: value, …`, in colour if asked.
pub(super) fn terminal<W: Write + Send + 'static>(out: W, colour: bool) -> impl Drain<Ok = (), Err = io::Error> + Send {
    FullFormat::new(Terminal { out: RefCell::new(out), colour })
        .use_original_order()
        .use_custom_header_print(|_, line, record, _| {
            line.start_timestamp()?;
            // Milliseconds are enough for a reader: the last three of the six digits go.
            let time = stamp_of(record).0.to_string();
            write!(line, "{}", &time[..time.len() - 3])?;
            line.start_whitespace()?;
            write!(line, " ")?;
            line.start_level()?;
            write!(line, "{}", Level::of(record.level()).as_str())?;
            line.start_whitespace()?;
            write!(line, "{:1$} ", "", "warning".len() - Level::of(record.level()).as_str().len())?;
            line.start_msg()?;
            write!(line, "{}", record.msg())?;
            line.reset()?;
            Ok(true)
        })
        .build()
}

/// Whether a character could break a line, command a terminal, or show text in another order than it has.
fn is_unsafe(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Appends the text with unsafe characters written by `escape`. Every writer above us writes whole characters.
fn push_safe(line: &mut Vec<u8>, bytes: &[u8], escape: impl Fn(char) -> String) {
    if bytes.iter().all(|byte| (0x20..0x7f).contains(byte)) {
        line.extend(bytes);
        return;
    }
    let mut utf8 = [0; 4];
    for c in String::from_utf8_lossy(bytes).chars() {
        match is_unsafe(c) {
            true => line.extend(escape(c).bytes()),
            false => line.extend(c.encode_utf8(&mut utf8).bytes()),
        }
    }
}

/// Gathers a line of JSON. What serde_json leaves as it is (DEL, C1, line separators) stands inside strings only, so
/// that it can be escaped without knowing where a string begins.
struct JsonLine<W> {
    out: W,
    line: Vec<u8>,
}

impl<W: Write> Write for JsonLine<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match bytes {
            b"\n" => self.line.push(b'\n'),
            bytes => push_safe(&mut self.line, bytes, |c| format!("\\u{:04x}", u32::from(c))),
        }
        Ok(bytes.len())
    }

    /// Called once per record, after its newline.
    fn flush(&mut self) -> io::Result<()> {
        let written = self.out.write_all(&self.line);
        self.line.clear();
        written.and_then(|()| self.out.flush())
    }
}

/// Gathers a line for a terminal, in colour or not.
struct Terminal<W> {
    out: RefCell<W>,
    colour: bool,
}

struct TerminalLine {
    line: Vec<u8>,
    level: Level,
    colour: bool,
    /// Whether what is written now is the format's own (blanks, the newline at the end) and not from outside.
    own: bool,
}

impl<W: Write> Decorator for Terminal<W> {
    fn with_record<F>(&self, record: &Record<'_>, _: &OwnedKVList, write: F) -> io::Result<()>
    where
        F: FnOnce(&mut dyn RecordDecorator) -> io::Result<()>,
    {
        let level = Level::of(record.level());
        let mut line = TerminalLine { line: Vec::new(), level, colour: self.colour, own: false };
        write(&mut line)?;
        let mut out = self.out.borrow_mut();
        out.write_all(&line.line)?;
        out.flush()
    }
}

impl TerminalLine {
    fn code(&mut self, code: &str) {
        if self.colour {
            self.line.extend(format!("\u{1b}[{code}m").bytes());
        }
    }
}

impl Write for TerminalLine {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.own {
            self.line.extend(bytes);
        } else {
            push_safe(&mut self.line, bytes, |c| c.escape_default().to_string());
        }
        Ok(bytes.len())
    }

    /// The line goes out as a whole, once it is complete.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl RecordDecorator for TerminalLine {
    fn reset(&mut self) -> io::Result<()> {
        self.own = false;
        self.code("0");
        Ok(())
    }

    fn start_whitespace(&mut self) -> io::Result<()> {
        self.reset()?;
        self.own = true;
        Ok(())
    }

    fn start_level(&mut self) -> io::Result<()> {
        self.reset()?;
        self.code(match self.level {
            Level::Error => "31",
            Level::Warning => "33",
            Level::Info => "32",
            Level::Debug => "36",
            Level::Trace => "34",
        });
        Ok(())
    }

    fn start_msg(&mut self) -> io::Result<()> {
        self.reset()?;
        self.code("1");
        Ok(())
    }
}
