//! Lays environment variables and `--set` over the file's tree.
//!
//! Promises: a later layer wins over an earlier one; every override that cannot be laid is a fault that names it.
//! Never: knows which keys exist, beyond the names of the sections.

use super::fault::{Fault, Origin, quoted};
use super::tree::{Node, Table, Value};

/// Variables that begin with this are ours if they name a section, or hold a section and a key.
pub(super) const ENV_PREFIX: &str = "SEGVAULT_";
/// Between the parts of a key in a variable's name.
const ENV_SEPARATOR: &str = "__";
/// More parts than any key has; bounds the depth of the tree.
const MOST_PARTS: usize = 8;

/// A value for one key, from outside the file.
#[derive(Debug, Clone)]
pub(super) struct Override {
    origin: Origin,
    parts: Vec<String>,
    text: String,
}

/// Sorts the environment: what is ours, in an order in which list elements come by index; and the names that begin
/// like ours but say no section (the config looks whether they are slips).
pub(super) fn from_environment(
    environment: impl Iterator<Item = (String, String)>,
    sections: &[&str],
) -> (Vec<Override>, Vec<String>) {
    let (mut ours, mut others) = (Vec::new(), Vec::new());
    for (name, text) in environment {
        let Some(key) = name.strip_prefix(ENV_PREFIX) else { continue };
        let key = key.to_lowercase();
        if key.contains(ENV_SEPARATOR) || sections.contains(&key.as_str()) {
            let parts = key.split(ENV_SEPARATOR).map(str::to_owned).collect();
            ours.push(Override { origin: Origin::Env(name.into()), parts, text });
        } else {
            others.push(name);
        }
    }
    // The environment has no order of its own; a section goes before its keys, element 2 before element 10.
    ours.sort_by_cached_key(|one| {
        one.parts.iter().map(|part| (part.parse::<usize>().ok(), part.clone())).collect::<Vec<_>>()
    });
    (ours, others)
}

/// Splits `section.key=value`.
pub(super) fn from_sets(sets: &[String], faults: &mut Vec<Fault>) -> Vec<Override> {
    let mut overrides = Vec::new();
    for set in sets {
        match set.split_once('=') {
            Some((key, text)) if key.bytes().all(is_of_a_key) => overrides.push(Override {
                origin: Origin::Set(key.trim().into()),
                parts: key.trim().split('.').map(str::to_owned).collect(),
                text: text.trim().to_owned(),
            }),
            // The text may be a value, even a secret one: it is not repeated.
            Some(_) | None => faults.push(Fault {
                at: Origin::Set("".into()),
                key: String::new(),
                problem: "no key and '=' at the beginning; write --set section.key=value".into(),
            }),
        }
    }
    overrides
}

fn is_of_a_key(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b' ')
}

/// Lays the overrides over the tree, in the order given.
pub(super) fn lay(root: &mut Table, overrides: Vec<Override>, faults: &mut Vec<Fault>) {
    for one in overrides {
        let key = one.parts.join(".");
        let fault = |problem: String| Fault { at: one.origin.clone(), key: key.clone(), problem };
        if one.parts.iter().any(String::is_empty) || one.parts.len() > MOST_PARTS {
            faults.push(fault("not a key; write section.key, or channel.0.key for an element of a list".into()));
        } else if one.text.contains(char::REPLACEMENT_CHARACTER) {
            faults.push(fault("the value is not UTF-8".into()));
        } else if let Err(problem) = put(root, &one) {
            faults.push(fault(problem));
        }
    }
}

fn put(root: &mut Table, one: &Override) -> Result<(), String> {
    let node = |value| Node { value, at: one.origin.clone(), key_at: one.origin.clone() };
    let (first, rest) = one.parts.split_first().expect("splitting a text gives at least one part");
    let mut slot = root.entry(first.clone()).or_insert_with(|| node(empty_for(rest.first())));
    let mut walked = first.clone();
    for (at, part) in rest.iter().enumerate() {
        let fresh = || node(empty_for(rest.get(at + 1)));
        slot = match &mut slot.value {
            Value::Table(table) => table.entry(part.clone()).or_insert_with(fresh),
            Value::List(items) => element(items, part, fresh).map_err(|problem| format!("{walked} {problem}"))?,
            other => return Err(format!("{walked} is {} and has no {} in it", other.kind(), quoted(part))),
        };
        walked = format!("{walked}.{part}");
    }
    *slot = node(Value::of_override(&one.text, &one.origin));
    Ok(())
}

/// What has to be there before a part can be put into it: an index needs a list, a name needs a table.
fn empty_for(next: Option<&String>) -> Value {
    match next {
        Some(part) if part.parse::<usize>().is_ok() => Value::List(Vec::new()),
        _ => Value::Table(Table::new()),
    }
}

fn element<'l>(items: &'l mut Vec<Node>, part: &str, fresh: impl FnOnce() -> Node) -> Result<&'l mut Node, String> {
    let count = items.len();
    let index = part.parse::<usize>().map_err(|_| format!("is a list; its elements are 0 to {count}"))?;
    if index > count {
        return Err(format!("has {count} elements; the next one is {count}"));
    }
    if index == count {
        items.push(fresh());
    }
    Ok(&mut items[index])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lay_sets(file: &str, sets: &[&str]) -> (Table, Vec<String>) {
        let (mut root, mut faults) = super::super::tree::parse_file(&"f".into(), file);
        let sets: Vec<String> = sets.iter().map(|set| set.to_string()).collect();
        let overrides = from_sets(&sets, &mut faults);
        lay(&mut root, overrides, &mut faults);
        (root, faults.iter().map(Fault::to_string).collect())
    }

    #[test]
    fn an_element_can_be_changed_or_added_at_the_end() {
        let (root, faults) = lay_sets(
            "[[channel]]\nname = \"a\"",
            &["channel.0.name=b", "channel.1.name=c", "channel.1.hls=http://x/", "node.name=n"],
        );
        assert_eq!(faults, [""; 0]);
        let Value::List(channels) = &root["channel"].value else { panic!() };
        assert_eq!(channels.len(), 2);
        let Value::Table(second) = &channels[1].value else { panic!() };
        assert_eq!(second["hls"].at.to_string(), "--set channel.1.hls");
    }

    #[test]
    fn what_cannot_be_laid_names_itself() {
        for (set, fault) in [
            ("node", "--set: no key and '=' at the beginning; write --set section.key=value"),
            ("postgres://u:p@h?a=b", "--set: no key and '=' at the beginning; write --set section.key=value"),
            ("channel.2.name=x", "--set channel.2.name: channel has 1 elements; the next one is 1"),
            ("channel.x.name=x", "--set channel.x.name: channel is a list; its elements are 0 to 1"),
            ("log.level.x=x", "--set log.level.x: log.level is a text and has no \"x\" in it"),
            (
                "log..level=x",
                "--set log..level: not a key; write section.key, or channel.0.key for an element of a list",
            ),
            ("=x", "--set: not a key; write section.key, or channel.0.key for an element of a list"),
            ("node.name=\u{fffd}", "--set node.name: the value is not UTF-8"),
        ] {
            let (_, faults) = lay_sets("[[channel]]\nname = \"a\"\n[log]\nlevel = \"info\"", &[set]);
            assert_eq!(faults, [fault], "{set}");
        }
        let deep = "a.".repeat(100_000) + "a=1";
        assert_eq!(lay_sets("", &[&deep]).1.len(), 1);
    }

    #[test]
    fn the_environment_is_laid_in_the_order_of_its_elements() {
        let names = ["CHANNEL__10__NAME", "CHANNEL__2__NAME", "CHANNEL", "LOG", "SERVICE_HOST", "CONFIG"];
        let environment = names.iter().map(|name| (format!("SEGVAULT_{name}"), "x".to_owned()));
        let other = std::iter::once(("PATH".to_owned(), "/bin".to_owned()));
        let (ours, others) = from_environment(environment.chain(other), &["channel", "log"]);
        let ours: Vec<String> = ours.iter().map(|one| one.origin.to_string()).collect();
        assert_eq!(ours, ["CHANNEL", "CHANNEL__2__NAME", "CHANNEL__10__NAME", "LOG"].map(|n| format!("SEGVAULT_{n}")));
        assert_eq!(others, ["SEGVAULT_SERVICE_HOST", "SEGVAULT_CONFIG"]);
    }
}
