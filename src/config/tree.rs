//! The configuration as it was written: a tree of values, each with where it came from.
//!
//! Promises: any text gives a tree and the list of its syntax faults; what could be understood around a syntax fault
//! is kept, so that its other faults can be reported too.
//! Never: knows which keys exist.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::fault::{Fault, Origin};

pub(crate) type Table = BTreeMap<String, Node>;

/// A value, where it stands, and where its key stands.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub value: Value,
    pub at: Origin,
    pub key_at: Origin,
}

#[derive(Debug, Clone)]
pub(crate) enum Value {
    /// A text in quotes; or, in an override, anything that is no TOML value.
    Text(String),
    /// A bare value; in an override just as it was written.
    Bare {
        kind: BareKind,
        text: String,
    },
    List(Vec<Node>),
    Table(Table),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BareKind {
    Integer,
    Float,
    Boolean,
    Time,
}

impl Value {
    /// What a fault calls it.
    pub fn kind(&self) -> &'static str {
        match self {
            Value::Text(_) => "a text",
            Value::Bare { kind: BareKind::Integer, .. } => "an integer",
            Value::Bare { kind: BareKind::Float, .. } => "a number with a fraction",
            Value::Bare { kind: BareKind::Boolean, .. } => "a boolean",
            Value::Bare { kind: BareKind::Time, .. } => "a date or time",
            Value::List(_) => "a list",
            Value::Table(_) => "a table",
        }
    }

    /// Reads an override: a TOML value, else the text as it is.
    pub fn of_override(text: &str, at: &Origin) -> Value {
        match DeValue::parse(text) {
            Ok(value) => match convert(value.into_inner(), &|_| at.clone()) {
                // As it was written: a name may look like a number.
                Value::Bare { kind, .. } => Value::Bare { kind, text: text.trim().to_owned() },
                other => other,
            },
            Err(_) => Value::Text(text.to_owned()),
        }
    }
}

/// Reads a file's text. The lines of the syntax faults are in their origins.
pub(super) fn parse_file(name: &Arc<str>, text: &str) -> (Table, Vec<Fault>) {
    let lines = Lines::new(name.clone(), text);
    let (document, errors) = DeTable::parse_recoverable(text);
    let faults = errors
        .iter()
        .map(|error| Fault {
            at: error.span().map_or_else(|| Origin::File(name.clone()), |span| lines.origin(&span)),
            key: String::new(),
            problem: format!("not TOML: {}", error.message()),
        })
        .collect();
    (convert_table(document.into_inner(), &|span| lines.origin(span)), faults)
}

fn convert_table(table: DeTable<'_>, origin: &dyn Fn(&Range<usize>) -> Origin) -> Table {
    let mut converted = Table::new();
    for (key, value) in table {
        let key_at = origin(&key.span());
        let node = Node { key_at, ..convert_node(value, origin) };
        converted.insert(key.into_inner().into_owned(), node);
    }
    converted
}

fn convert_node(value: Spanned<DeValue<'_>>, origin: &dyn Fn(&Range<usize>) -> Origin) -> Node {
    let at = origin(&value.span());
    Node { value: convert(value.into_inner(), origin), key_at: at.clone(), at }
}

fn convert(value: DeValue<'_>, origin: &dyn Fn(&Range<usize>) -> Origin) -> Value {
    let bare = |kind, text| Value::Bare { kind, text };
    match value {
        DeValue::String(text) => Value::Text(text.into_owned()),
        DeValue::Integer(number) => bare(BareKind::Integer, number.to_string()),
        DeValue::Float(number) => bare(BareKind::Float, number.to_string()),
        DeValue::Boolean(truth) => bare(BareKind::Boolean, truth.to_string()),
        DeValue::Datetime(time) => bare(BareKind::Time, time.to_string()),
        DeValue::Array(items) => Value::List(items.into_iter().map(|item| convert_node(item, origin)).collect()),
        DeValue::Table(table) => Value::Table(convert_table(table, origin)),
    }
}

/// Turns byte offsets into lines and columns.
struct Lines<'t> {
    name: Arc<str>,
    text: &'t str,
    starts: Vec<usize>,
}

impl<'t> Lines<'t> {
    fn new(name: Arc<str>, text: &'t str) -> Self {
        let starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { name, text, starts }
    }

    fn origin(&self, span: &Range<usize>) -> Origin {
        let line = self.starts.partition_point(|start| *start <= span.start);
        let before = self.text.get(self.starts[line - 1]..span.start).unwrap_or_default();
        Origin::Line { file: self.name.clone(), line, column: before.chars().count() + 1 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> (Table, Vec<String>) {
        let (table, faults) = parse_file(&"t".into(), text);
        (table, faults.iter().map(Fault::to_string).collect())
    }

    #[test]
    fn values_know_their_line_and_column() {
        let (table, faults) = parse("# é\n[node]\nname = \"é\" \n[[channel]]\nhls = 3\n[[channel]]\n");
        assert_eq!(faults, [""; 0]);
        let Value::Table(node) = &table["node"].value else { panic!() };
        assert_eq!(node["name"].key_at.to_string(), "t:3:1");
        assert_eq!(node["name"].at.to_string(), "t:3:8");
        let Value::List(channels) = &table["channel"].value else { panic!() };
        assert_eq!(channels[0].at.to_string(), "t:4:1");
        assert_eq!(channels[1].at.to_string(), "t:6:1");
    }

    #[test]
    fn several_syntax_faults_are_reported_and_the_rest_is_kept() {
        let (table, faults) = parse("[node]\nname = \nlisten = \"x\"\nlisten = \"y\"\ngrace = 25s\ndir = \"/a\"\n");
        assert_eq!(faults.len(), 3, "{faults:#?}");
        assert!(faults[0].starts_with("t:2:"), "{faults:#?}");
        assert!(faults[1].contains("duplicate key"), "{faults:#?}");
        let Value::Table(node) = &table["node"].value else { panic!() };
        assert!(node.contains_key("dir"), "{node:?}");
    }

    #[test]
    fn an_override_is_a_toml_value_or_else_a_text() {
        let read = |text| Value::of_override(text, &Origin::Default);
        assert!(matches!(read("8"), Value::Bare { kind: BareKind::Integer, .. }));
        assert!(matches!(read("1_0"), Value::Bare { text, .. } if text == "1_0"));
        assert!(matches!(read("\"8\""), Value::Text(text) if text == "8"));
        assert!(matches!(read("[\"a\"]"), Value::List(items) if items.len() == 1));
        assert!(matches!(read("127.0.0.1:80"), Value::Text(text) if text == "127.0.0.1:80"));
        assert!(matches!(read(""), Value::Text(text) if text.is_empty()));
        assert!(matches!(read("a\nb"), Value::Text(text) if text == "a\nb"));
    }

    #[test]
    fn deep_nesting_is_a_fault_and_not_a_crash() {
        for text in ["a.".repeat(100_000) + "a = 1", "a = ".to_owned() + &"[".repeat(100_000)] {
            assert!(!parse(&text).1.is_empty());
        }
        let dotted = format!("{}a = 1", "a.".repeat(70));
        assert_eq!(parse(&dotted).1, [""; 0]);
    }
}
