//! Walks the tree key by key: takes what is known, refuses the rest, and remembers what came from where.
//!
//! Promises: every fault of the tree is collected, none stops the walk; a key that nobody asked for is a fault;
//! every key that was asked for is remembered with its value and origin, for `config show`.
//! Never: keeps a secret in what it remembers.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use super::fault::{Fault, Origin, nearest, quoted};
use super::reading::{absolute, list_text, text_of, toml_text, truth, whole_number, within};
use super::tree::{Node, Table, Value};
use super::values::{ByteSize, Setting};

const ALLOWED_PATH: &str = "write a path in quotes";

/// A key that was asked for, with its value as TOML (`None` where an optional key is absent).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Effective {
    /// The section's header as it stands in a file: `[node]`, `[[channel]]`.
    pub header: String,
    /// The section's path: `node`, `channel.0`.
    pub section: String,
    pub key: &'static str,
    pub value: Option<String>,
    pub origin: Origin,
}

/// Collects what the sections find.
pub(crate) struct Reader {
    pub faults: Vec<Fault>,
    pub effective: Vec<Effective>,
    /// Whether a missing key is a fault: not when a syntax fault may have swallowed it.
    pub miss: bool,
    /// What relative paths in the file are relative to.
    pub file_dir: PathBuf,
    /// What relative paths in overrides are relative to.
    pub current_dir: PathBuf,
}

/// One table on its way through the reader.
pub(crate) struct Section<'r, 't> {
    reader: &'r mut Reader,
    header: String,
    path: String,
    at: Origin,
    table: Option<&'t Table>,
    known: Vec<&'static str>,
}

impl Reader {
    pub fn fault(&mut self, at: &Origin, key: impl Into<String>, problem: impl Into<String>) {
        self.faults.push(Fault { at: at.clone(), key: key.into(), problem: problem.into() });
    }

    /// The table `[name]`; an absent one reads as an empty one.
    pub fn section<'r, 't>(&'r mut self, root: &'t Table, name: &'static str) -> Section<'r, 't> {
        let mut section = Section {
            reader: self,
            header: format!("[{name}]"),
            path: name.into(),
            at: Origin::Default,
            table: None,
            known: Vec::new(),
        };
        if let Some(node) = root.get(name) {
            section.at = node.at.clone();
            match &node.value {
                Value::Table(table) => section.table = Some(table),
                Value::List(_) => section.reader.fault(&node.at, name, format!("there is one of it; write [{name}]")),
                other => section.reader.fault(
                    &node.at,
                    name,
                    format!("{} where a section is due; write [{name}]", other.kind()),
                ),
            }
        }
        section
    }

    /// Hands each of the tables `[[name]]` to `read`.
    pub fn sections<'t, T>(
        &mut self,
        root: &'t Table,
        name: &'static str,
        mut read: impl FnMut(Section<'_, 't>) -> Option<T>,
    ) -> Vec<T> {
        let items: &[Node] = match root.get(name).map(|node| (node, &node.value)) {
            None => &[],
            Some((_, Value::List(items))) => items,
            Some((node, other)) => {
                self.fault(&node.at, name, format!("{} where a list is due; write [[{name}]]", other.kind()));
                &[]
            }
        };
        let mut all = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let path = format!("{name}.{index}");
            match &item.value {
                Value::Table(table) => all.extend(read(Section {
                    reader: self,
                    header: format!("[[{name}]]"),
                    path,
                    at: item.at.clone(),
                    table: Some(table),
                    known: Vec::new(),
                })),
                other => self.fault(&item.at, path, format!("{} where a table is due; write [[{name}]]", other.kind())),
            }
        }
        all
    }

    /// Hands each of the tables `[name.KEY]` to `read`, with its key, in the order of the keys.
    pub fn tables<'t, K: Setting, T>(
        &mut self,
        root: &'t Table,
        name: &'static str,
        mut read: impl FnMut(K, Section<'_, 't>) -> Option<T>,
    ) -> Vec<T> {
        let tables = match root.get(name).map(|node| (node, &node.value)) {
            None => return Vec::new(),
            Some((_, Value::Table(tables))) => tables,
            Some((node, other)) => {
                self.fault(&node.at, name, format!("{} where tables are due; write [{name}.NAME]", other.kind()));
                return Vec::new();
            }
        };
        let mut all = Vec::new();
        for (key, node) in tables {
            let path = format!("{name}.{key}");
            match (K::read(key), &node.value) {
                (Ok(key_read), Value::Table(table)) => {
                    let is_bare = key.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
                    let shown = if is_bare { key.clone() } else { toml_text(key) };
                    let section = Section {
                        reader: self,
                        header: format!("[{name}.{shown}]"),
                        path,
                        at: node.at.clone(),
                        table: Some(table),
                        known: Vec::new(),
                    };
                    all.extend(read(key_read, section));
                }
                (Ok(_), other) => {
                    self.fault(&node.at, path, format!("{} where a table is due; write [{name}.NAME]", other.kind()));
                }
                (Err(problem), _) => self.fault(&node.key_at, path, format!("{problem}; {}", K::ALLOWED)),
            }
        }
        all
    }

    /// Refuses what is in the root and not among the `known` sections.
    pub fn close(&mut self, root: &Table, known: &[&'static str]) {
        for (key, node) in root {
            if !known.contains(&key.as_str()) {
                let problem = unknown(key, known);
                self.fault(&node.key_at, key.clone(), problem);
            }
        }
    }
}

/// What to say of a key that this version does not read.
fn unknown(key: &str, known: &[&'static str]) -> String {
    match nearest(key, known.iter().copied()) {
        Some(meant) => format!("unknown; did you mean {meant}?"),
        None => format!("unknown; allowed here: {}", known.join(", ")),
    }
}

impl<'t> Section<'_, 't> {
    /// The origin of a key's value, or of the section where it has none.
    pub fn origin(&self, key: &str) -> Origin {
        self.table.and_then(|table| table.get(key)).map_or(&self.at, |node| &node.at).clone()
    }

    pub fn has(&self, key: &str) -> bool {
        self.table.is_some_and(|table| table.contains_key(key))
    }

    pub fn fault(&mut self, at: &Origin, key: &str, problem: impl Into<String>) {
        let path = format!("{}.{key}", self.path);
        self.reader.fault(at, path, problem);
    }

    /// A text, by default `default`.
    pub fn text<T: Setting>(&mut self, key: &'static str, default: &str) -> Option<T> {
        self.value(key, default, |text, _| T::read(text), T::ALLOWED, T::shown)
    }

    /// A text that must be there.
    pub fn required<T: Setting>(&mut self, key: &'static str) -> Option<T> {
        let value = self.optional(key);
        if !self.has(key) {
            self.missing(key, T::ALLOWED);
        }
        value.flatten()
    }

    /// Says that a key is not there, unless a syntax fault may have swallowed it.
    pub fn missing(&mut self, key: &str, allowed: &str) {
        if self.reader.miss {
            let at = self.at.clone();
            self.fault(&at, key, format!("missing; {allowed}"));
        }
    }

    /// A text that may be absent. The outer `None` is a fault.
    pub fn optional<T: Setting>(&mut self, key: &'static str) -> Option<Option<T>> {
        self.maybe(key, |text, _| T::read(text), T::ALLOWED, T::shown)
    }

    /// A duration within `range`, both ends allowed.
    pub fn duration(&mut self, key: &'static str, default: &str, range: RangeInclusive<Duration>) -> Option<Duration> {
        self.bounded(key, default, range)
    }

    /// A size within `range`, both ends allowed.
    pub fn size(&mut self, key: &'static str, default: &str, range: RangeInclusive<ByteSize>) -> Option<ByteSize> {
        self.bounded(key, default, range)
    }

    fn bounded<T: Setting + PartialOrd>(
        &mut self,
        key: &'static str,
        default: &str,
        range: RangeInclusive<T>,
    ) -> Option<T> {
        self.value(key, default, |text, _| within(text, &range), T::ALLOWED, T::shown)
    }

    /// A path, made absolute: in the file it is relative to the file's directory, elsewhere to the current one.
    pub fn path(&mut self, key: &'static str, default: &str) -> Option<PathBuf> {
        let (file_dir, current_dir) = (self.reader.file_dir.clone(), self.reader.current_dir.clone());
        let read = |text: &str, at: &Origin| absolute(text, at, &file_dir, &current_dir);
        self.value(key, default, read, ALLOWED_PATH, |path| path.display().to_string())
    }

    /// As [`Section::path`], for a key that may be absent.
    pub fn optional_path(&mut self, key: &'static str) -> Option<Option<PathBuf>> {
        let (file_dir, current_dir) = (self.reader.file_dir.clone(), self.reader.current_dir.clone());
        let read = |text: &str, at: &Origin| absolute(text, at, &file_dir, &current_dir);
        self.maybe(key, read, ALLOWED_PATH, |path| path.display().to_string())
    }

    /// A whole number within `range`.
    pub fn integer(&mut self, key: &'static str, default: u32, range: RangeInclusive<u32>) -> Option<u32> {
        let allowed = format!("write a whole number from {} to {}", range.start(), range.end());
        let (found, at) = match self.take(key) {
            None => (Ok(default), Origin::Default),
            Some(node) => (whole_number(&node.value, &range), node.at.clone()),
        };
        self.keep(key, at, &allowed, found, |number| number.to_string())
    }

    /// As [`Section::duration`], for a key that may be absent.
    pub fn optional_duration(
        &mut self,
        key: &'static str,
        range: RangeInclusive<Duration>,
    ) -> Option<Option<Duration>> {
        let read = |text: &str, _: &Origin| within(text, &range);
        self.maybe(key, read, Duration::ALLOWED, Duration::shown)
    }

    /// As [`Section::size`], for a key that may be absent.
    pub fn optional_size(&mut self, key: &'static str, range: RangeInclusive<ByteSize>) -> Option<Option<ByteSize>> {
        let read = |text: &str, _: &Origin| within(text, &range);
        self.maybe(key, read, ByteSize::ALLOWED, ByteSize::shown)
    }

    /// A whole number within `range`, which may be absent.
    pub fn optional_integer(&mut self, key: &'static str, range: RangeInclusive<u32>) -> Option<Option<u32>> {
        let allowed = format!("write a whole number from {} to {}", range.start(), range.end());
        let Some(node) = self.take(key) else {
            self.remember(key, None, Origin::Default);
            return Some(None);
        };
        let (found, at) = (whole_number(&node.value, &range), node.at.clone());
        self.keep(key, at, &allowed, found, |number| number.to_string()).map(Some)
    }

    /// `true` or `false`.
    pub fn boolean(&mut self, key: &'static str, default: bool) -> Option<bool> {
        let (found, at) = match self.take(key) {
            None => (Ok(default), Origin::Default),
            Some(node) => (truth(&node.value), node.at.clone()),
        };
        self.keep(key, at, "write true or false", found, |truth| truth.to_string())
    }

    /// A list of texts, not empty, none twice.
    pub fn texts<T: Setting + PartialEq>(&mut self, key: &'static str, default: &[&str]) -> Option<Vec<T>> {
        let values = self.texts_or_none(key, default)?;
        self.not_empty(key, values)
    }

    /// A list of texts, none twice.
    pub fn texts_or_none<T: Setting + PartialEq>(&mut self, key: &'static str, default: &[&str]) -> Option<Vec<T>> {
        match self.take(key) {
            Some(node) => self.list(key, node, false),
            None => {
                let values = default.iter().map(|text| T::read(text)).collect();
                self.keep(key, Origin::Default, T::ALLOWED, values, |values| list_text(values))
            }
        }
    }

    /// A list of texts that may be absent, none twice.
    pub fn optional_texts<T: Setting + PartialEq>(&mut self, key: &'static str) -> Option<Option<Vec<T>>> {
        self.optional_list(key, false)
    }

    /// A list of texts that may be absent, but not empty, in which one may be there twice.
    pub fn words<T: Setting + PartialEq>(&mut self, key: &'static str) -> Option<Option<Vec<T>>> {
        self.optional_list(key, true)
    }

    fn optional_list<T: Setting + PartialEq>(&mut self, key: &'static str, twice: bool) -> Option<Option<Vec<T>>> {
        match self.take(key) {
            Some(node) => {
                let words = self.list(key, node, twice)?;
                self.not_empty(key, words).map(Some)
            }
            None => {
                self.remember(key, None, Origin::Default);
                Some(None)
            }
        }
    }

    fn not_empty<T>(&mut self, key: &'static str, values: Vec<T>) -> Option<Vec<T>> {
        if values.is_empty() {
            let at = self.origin(key);
            self.fault(&at, key, "the list is empty; name at least one, or leave the key out");
            return None;
        }
        Some(values)
    }

    fn list<T: Setting + PartialEq>(&mut self, key: &'static str, node: &Node, twice: bool) -> Option<Vec<T>> {
        let Value::List(items) = &node.value else {
            let problem = format!("{} where a list is due; write [\"a\", \"b\"]", node.value.kind());
            self.fault(&node.at, key, problem);
            return None;
        };
        let mut values: Vec<T> = Vec::new();
        let faults_before = self.reader.faults.len();
        for (index, item) in items.iter().enumerate() {
            match text_of(item).and_then(T::read) {
                Ok(value) if !twice && values.contains(&value) => {
                    self.fault(
                        &item.at,
                        &format!("{key}.{index}"),
                        format!("{} is there twice", quoted(&value.shown())),
                    );
                }
                Ok(value) => values.push(value),
                Err(problem) => self.fault(&item.at, &format!("{key}.{index}"), format!("{problem}; {}", T::ALLOWED)),
            }
        }
        if self.reader.faults.len() > faults_before {
            return None;
        }
        self.keep(key, node.at.clone(), T::ALLOWED, Ok(values), |values| list_text(values))
    }

    /// Refuses the keys that nobody asked for.
    pub fn close(self) {
        for (key, node) in self.table.into_iter().flatten() {
            if !self.known.contains(&key.as_str()) {
                let problem = unknown(key, &self.known);
                self.reader.fault(&node.key_at, format!("{}.{key}", self.path), problem);
            }
        }
    }

    fn take(&mut self, key: &'static str) -> Option<&'t Node> {
        self.known.push(key);
        self.table.and_then(|table| table.get(key))
    }

    fn value<T>(
        &mut self,
        key: &'static str,
        default: &str,
        read: impl Fn(&str, &Origin) -> Result<T, String>,
        allowed: &str,
        shown: impl Fn(&T) -> String,
    ) -> Option<T> {
        let (found, at) = match self.take(key) {
            None => (read(default, &Origin::Default), Origin::Default),
            Some(node) => (text_of(node).and_then(|text| read(text, &node.at)), node.at.clone()),
        };
        self.keep(key, at, allowed, found, |value| toml_text(&shown(value)))
    }

    fn maybe<T>(
        &mut self,
        key: &'static str,
        read: impl Fn(&str, &Origin) -> Result<T, String>,
        allowed: &str,
        shown: impl Fn(&T) -> String,
    ) -> Option<Option<T>> {
        let Some(node) = self.take(key) else {
            self.remember(key, None, Origin::Default);
            return Some(None);
        };
        let found = text_of(node).and_then(|text| read(text, &node.at));
        self.keep(key, node.at.clone(), allowed, found, |value| toml_text(&shown(value))).map(Some)
    }

    /// Notes the value for `config show`, or its refusal as a fault.
    fn keep<T>(
        &mut self,
        key: &'static str,
        at: Origin,
        allowed: &str,
        found: Result<T, String>,
        shown: impl Fn(&T) -> String,
    ) -> Option<T> {
        match found {
            Ok(value) => {
                self.remember(key, Some(shown(&value)), at);
                Some(value)
            }
            Err(problem) => {
                self.fault(&at, key, format!("{problem}; {allowed}"));
                None
            }
        }
    }

    fn remember(&mut self, key: &'static str, value: Option<String>, origin: Origin) {
        let (header, section) = (self.header.clone(), self.path.clone());
        self.reader.effective.push(Effective { header, section, key, value, origin });
    }
}
