//! Reads the values of the tree, and writes values as TOML.
//!
//! Promises: a refusal says what is there and what is due.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use super::fault::{Origin, quoted};
use super::tree::{BareKind, Node, Value};
use super::values::Setting;

pub(super) fn within<T: Setting + PartialOrd>(text: &str, range: &RangeInclusive<T>) -> Result<T, String> {
    let value = T::read(text)?;
    if range.contains(&value) {
        return Ok(value);
    }
    Err(format!("{} is not from {} to {}", quoted(text), range.start().shown(), range.end().shown()))
}

pub(super) fn absolute(text: &str, at: &Origin, file_dir: &Path, current_dir: &Path) -> Result<PathBuf, String> {
    if text.is_empty() || text.chars().any(char::is_control) {
        return Err(format!("{} is no path", quoted(text)));
    }
    let base = match at {
        Origin::Env(_) | Origin::Set(_) => current_dir,
        Origin::Default | Origin::File(_) | Origin::Line { .. } => file_dir,
    };
    Ok(base.join(text))
}

/// The text of a node. An override cannot always put quotes around a name that looks like a number: it may go without.
pub(super) fn text_of(node: &Node) -> Result<&str, String> {
    match (&node.value, &node.at) {
        (Value::Text(text), _) => Ok(text),
        (Value::Bare { text, .. }, Origin::Env(_) | Origin::Set(_)) => Ok(text),
        (Value::Bare { text, .. }, _) => Err(format!("{} ({text}) where a text in quotes is due", node.value.kind())),
        (other, _) => Err(format!("{} where a text in quotes is due", other.kind())),
    }
}

pub(super) fn truth(value: &Value) -> Result<bool, String> {
    match value {
        Value::Bare { kind: BareKind::Boolean, text } => Ok(text == "true"),
        other => Err(format!("{} where a boolean is due", other.kind())),
    }
}

pub(super) fn whole_number(value: &Value, range: &RangeInclusive<u32>) -> Result<u32, String> {
    let Value::Bare { kind: BareKind::Integer, text } = value else {
        return Err(format!("{} where a whole number is due", value.kind()));
    };
    match toml_integer(text).and_then(|number| u32::try_from(number).ok()) {
        Some(number) if range.contains(&number) => Ok(number),
        Some(_) | None => Err(format!("{text} is out of bounds")),
    }
}

/// Reads what TOML calls an integer; `None` where it is larger than any number of ours.
fn toml_integer(text: &str) -> Option<i64> {
    let digits = text.replace('_', "");
    let prefixed = |prefix| digits.strip_prefix(prefix);
    match (prefixed("0x"), prefixed("0o"), prefixed("0b")) {
        (Some(hexadecimal), _, _) => i64::from_str_radix(hexadecimal, 16),
        (_, Some(octal), _) => i64::from_str_radix(octal, 8),
        (_, _, Some(binary)) => i64::from_str_radix(binary, 2),
        (None, None, None) => digits.parse(),
    }
    .ok()
}

pub(super) fn list_text<T: Setting>(values: &[T]) -> String {
    let texts: Vec<String> = values.iter().map(|value| toml_text(&value.shown())).collect();
    format!("[{}]", texts.join(", "))
}

/// The text as TOML: a basic string.
pub(super) fn toml_text(text: &str) -> String {
    let mut quoted = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => quoted.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}
