//! The reference documents, of which this is the writer: `make docs` writes them, the tests compare.
//!
//! docs/configuration.md comes from docs/segvault.sample.toml, which is compared with the types that read a configuration;
//! docs/http-api.md from what a node answers at /api/openapi.json.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use serde_json::Value;

use crate::support::NodeProcess;

/// Compares a document with the committed one, or writes it if told.
fn is_committed(file: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(file);
    if std::env::var_os("WRITE_DOCS").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(committed == text, "docs/{file} is not what its source says: make docs");
}

/// A cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

struct Key {
    name: String,
    value: String,
    said: String,
}

impl Key {
    fn row(&self) -> String {
        let said = self.said.strip_suffix("For example:").map(str::trim_end);
        let (text, example) = (said.unwrap_or(&self.said), said.is_some());
        let (before, default) = match text.rsplit_once("Default: ") {
            Some((before, rest)) => {
                let (default, after) = rest.split_once(". ").unwrap_or((rest.trim_end_matches('.'), ""));
                (format!("{before}{after}"), default.to_owned())
            }
            None if text.contains("Required.") => (text.replace("Required.", ""), "required".to_owned()),
            None if example => (text.to_owned(), "–".to_owned()),
            None => (text.to_owned(), format!("`{}`", self.value)),
        };
        let shown = if example { format!(" For example `{}`.", self.value) } else { String::new() };
        format!("| `{}` | {} | {}{} |\n", self.name, cell(&default), cell(before.trim()), cell(&shown))
    }
}

#[test]
fn the_configuration_is_described() {
    let sample = include_str!("../../docs/segvault.sample.toml");
    let mut text = String::from(
        "# Configuration\n\nMade of [segvault.sample.toml](segvault.sample.toml) by `make docs`; the sample is a file to begin with.\n",
    );
    let (mut said, mut seen): (Vec<&str>, BTreeSet<String>) = (Vec::new(), BTreeSet::new());
    let (mut section, mut is_head) = (String::new(), true);
    for line in sample.lines() {
        let uncommented =
            line.strip_prefix('#').filter(|rest| !rest.is_empty() && !rest.starts_with(' ')).unwrap_or(line);
        if line.is_empty() {
            // The file's own head, in paragraphs.
            if is_head {
                let _ = write!(text, "\n{}\n", said.join("\n"));
            }
            is_head = false;
            said.clear();
        } else if let Some(comment) = line.strip_prefix("# ").or((line == "#").then_some("")) {
            said.push(comment);
        } else if uncommented.starts_with('[') {
            if section != uncommented {
                section = uncommented.to_owned();
                let intro = std::mem::take(&mut said).join(" ");
                let gap = if intro.is_empty() { "" } else { "\n\n" };
                let _ = write!(text, "\n## `{section}`\n\n{intro}{gap}| key | default | |\n|---|---|---|\n");
            } else {
                // Another example, of the key in it that is new.
                said.push("For example:");
            }
        } else {
            let (name, value) = uncommented.split_once(" = ").unwrap_or_else(|| panic!("no key: {line}"));
            if seen.insert(format!("{section}{name}")) {
                let said = std::mem::take(&mut said).join(" ");
                let said = if said.is_empty() { "As above.".to_owned() } else { said };
                text.push_str(&Key { name: name.to_owned(), value: value.to_owned(), said }.row());
            }
        }
    }
    is_committed("configuration.md", &text);
}

/// The name of a schema, as a link to what it is.
fn schema(value: &Value) -> String {
    match value["$ref"].as_str().and_then(|target| target.rsplit('/').next()) {
        Some(name) => format!("[{name}](#{})", name.to_lowercase()),
        None => cell(&kind(value)),
    }
}

/// What a value may be, in words.
fn kind(value: &Value) -> String {
    if let Some(values) = value["enum"].as_array() {
        return values.iter().map(|one| format!("`{one}`")).collect::<Vec<_>>().join(", ");
    }
    if let Some(ways) = value["oneOf"].as_array().or(value["anyOf"].as_array()) {
        return ways.iter().map(schema).collect::<Vec<_>>().join(" or ");
    }
    let of = |name: &Value| match name.as_str().unwrap_or("any") {
        "array" => format!("list of {}", schema(&value["items"])),
        name => name.to_owned(),
    };
    let mut text = match &value["type"] {
        Value::Array(names) => names.iter().map(of).collect::<Vec<_>>().join(" or "),
        name => of(name),
    };
    for (key, word) in [
        ("format", "format"),
        ("pattern", "matching"),
        ("minimum", "from"),
        ("maximum", "to"),
        ("maxLength", "length at most"),
    ] {
        if let Some(bound) = value.get(key) {
            let bound = bound.as_str().map_or(bound.to_string(), |text| format!("`{text}`"));
            let _ = write!(text, ", {word} {bound}");
        }
    }
    if let Some(description) = value["description"].as_str() {
        let _ = write!(text, ": {description}");
    }
    text
}

#[test]
fn the_api_is_described() {
    let dir = tempfile::tempdir().unwrap();
    let node = NodeProcess::start(&dir.path().join("base"), &[]);
    let api = node.get("/api/openapi.json").json();
    node.stop();
    let mut text = format!(
        "# The addresses below /api\n\nMade of `/api/openapi.json` by `make docs`; the others are in the [README](../README.md). {}\n\n\
         A refusal is a [Refusal](#refusal), whatever its status.\n",
        api["info"]["description"].as_str().unwrap(),
    );
    for (path, methods) in api["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let summary = operation["summary"].as_str().unwrap();
            let _ = write!(text, "\n## `{} {path}`\n\n{summary}", method.to_uppercase());
            if let Some(description) = operation["description"].as_str() {
                let _ = write!(text, " {description}");
            }
            text.push_str("\n\n");
            for parameter in operation["parameters"].as_array().into_iter().flatten().filter(|one| one["in"] == "query")
            {
                let _ =
                    writeln!(text, "- `?{}=`: {}", parameter["name"].as_str().unwrap(), schema(&parameter["schema"]));
            }
            for (kind, content) in operation["requestBody"]["content"].as_object().into_iter().flatten() {
                let _ = writeln!(text, "- takes {} ({kind})", schema(&content["schema"]));
            }
            let responses = operation["responses"].as_object().unwrap();
            let (done, refused): (Vec<_>, Vec<_>) = responses.iter().partition(|(status, _)| status.starts_with('2'));
            for (status, response) in done {
                let content = response["content"].as_object().into_iter().flatten();
                let answers: Vec<_> =
                    content.map(|(kind, content)| format!("{} ({kind})", schema(&content["schema"]))).collect();
                let _ = writeln!(text, "- answers {status}: {}", answers.join(", "));
            }
            let refused: Vec<&str> = refused.into_iter().map(|(status, _)| status.as_str()).collect();
            let _ = writeln!(text, "- may be refused with {}", refused.join(", "));
        }
    }
    for (name, described) in api["components"]["schemas"].as_object().unwrap() {
        let _ = write!(text, "\n### {name}\n\n");
        match described["properties"].as_object() {
            Some(properties) => {
                text.push_str("| field | what |\n|---|---|\n");
                for (field, value) in properties {
                    let _ = writeln!(text, "| `{field}` | {} |", schema(value));
                }
            }
            None => text.push_str(&format!("{}\n", kind(described))),
        }
    }
    is_committed("http-api.md", &text);
}
