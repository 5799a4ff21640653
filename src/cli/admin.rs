//! `segvault admin`: asks the node that runs on a directory, over its socket; one command, or a console.

use std::io::{self, BufRead, BufReader, IsTerminal, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use anyhow::Context as _;
use rustyline::completion::{Completer, Pair};
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::DefaultHistory;
use rustyline::validate::Validator;
use rustyline::{Editor, Helper};
use serde_json::{Map, Value};

use super::config::EXIT_OK;
use super::place::PlaceArgs;
use super::{EXIT_FAILED, Failure};
use crate::admin::HELP;

/// The node answers within five seconds, whatever it is asked.
const PATIENCE: Duration = Duration::from_secs(10);
/// What a row is about stands before what is said of it.
const FIRST: [&str; 7] = ["command", "door", "metric", "kind", "name", "url", "channel"];
const LEVELS: [&str; 5] = ["error", "warning", "info", "debug", "trace"];

// No doc comment: it stands on the command.
#[derive(Debug, clap::Args)]
pub struct AdminArgs {
    #[command(flatten)]
    place: PlaceArgs,
    /// Print answers as JSON, one on each line.
    #[arg(long)]
    json: bool,
    /// What to ask; `help` lists what there is. Without it a console, or what stands on standard input, line by line.
    #[arg(trailing_var_arg = true)]
    command: Vec<String>,
}

pub fn run(args: &AdminArgs) -> Result<u8, Failure> {
    let path = args.place.layout()?.admin_socket();
    let missing = || format!("no node answers at {}; does one run on this directory, as this user?", path.display());
    let stream = UnixStream::connect(&path).with_context(missing)?;
    stream.set_read_timeout(Some(PATIENCE)).context("cannot use the socket")?;
    stream.set_write_timeout(Some(PATIENCE)).context("cannot use the socket")?;
    let mut node = Node { answers: BufReader::new(stream.try_clone().context("cannot use the socket")?), stream };
    let mut done = true;
    if !args.command.is_empty() {
        done = node.tell(&args.command, args.json)?;
    } else if io::stdin().is_terminal() {
        console(&mut node, args.json)?;
    } else {
        for line in io::stdin().lock().lines() {
            done &= node.tell(&words(&line.context("cannot read standard input")?), args.json)?;
        }
    }
    Ok(if done { EXIT_OK } else { EXIT_FAILED })
}

fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

struct Node {
    stream: UnixStream,
    answers: BufReader<UnixStream>,
}

impl Node {
    fn ask(&mut self, command: &[String]) -> anyhow::Result<Result<Value, String>> {
        const HUNG_UP: &str = "the node has hung up";
        self.stream.write_all(format!("{}\n", Value::from(command)).as_bytes()).context(HUNG_UP)?;
        let mut line = String::new();
        self.answers.read_line(&mut line).context("the node does not answer")?;
        let answer: Value = serde_json::from_str(&line).context(HUNG_UP)?;
        Ok(match answer.get("error").and_then(Value::as_str) {
            Some(why) => Err(why.to_owned()),
            None => Ok(answer["ok"].clone()),
        })
    }

    /// Whether the node did it.
    fn tell(&mut self, command: &[String], json: bool) -> anyhow::Result<bool> {
        match self.ask(command)? {
            Ok(answer) if json => writeln!(io::stdout(), "{answer}").context("cannot print")?,
            Ok(answer) => io::stdout().write_all(text(&answer).as_bytes()).context("cannot print")?,
            Err(why) => {
                eprintln!("segvault: {why}");
                return Ok(false);
            }
        }
        Ok(true)
    }
}

fn console(node: &mut Node, json: bool) -> anyhow::Result<()> {
    let actors = node.ask(&words("actors"))?.unwrap_or_default();
    let mut editor: Editor<Words, DefaultHistory> = Editor::new().context("no console on this terminal")?;
    editor.set_helper(Some(Words::of(&actors)));
    loop {
        match editor.readline("segvault> ") {
            Ok(line) if words(&line).is_empty() => {}
            Ok(line) if ["exit", "quit"].contains(&line.trim()) => return Ok(()),
            Ok(line) => {
                // Only for the arrows: it is not kept.
                let _ = editor.add_history_entry(line.trim());
                node.tell(&words(&line), json)?;
            }
            Err(ReadlineError::Interrupted) => {}
            Err(ReadlineError::Eof) => return Ok(()),
            Err(error) => return Err(error).context("cannot read the terminal"),
        }
    }
}

/// What may stand in a line: whole commands, of which the words come one by one.
struct Words(Vec<Vec<String>>);

impl Words {
    fn of(actors: &Value) -> Self {
        let mut lines: Vec<Vec<String>> = Vec::new();
        for (usage, _) in HELP {
            let usage = usage.split(" [").next().expect("a split has a first part");
            match usage {
                "restart KIND" => lines.extend(actors.as_array().into_iter().flatten().map(|actor| {
                    let of = |key: &str| actor[key].as_str().unwrap_or_default();
                    words(&format!("restart {} {}", of("kind"), of("name")))
                })),
                _ if usage.contains("MODULE") => {}
                _ if usage.ends_with("LEVEL") => {
                    lines.extend(LEVELS.map(|level| words(&usage.replace("LEVEL", level))))
                }
                _ => lines.push(words(usage)),
            }
        }
        Self(lines.into_iter().chain([words("exit")]).collect())
    }

    /// Where the last word begins, and what it may be.
    fn complete(&self, line: &str) -> (usize, Vec<String>) {
        let start = line.rfind(char::is_whitespace).map_or(0, |at| at + 1);
        let (before, begun) = (words(&line[..start]), &line[start..]);
        let fitting = self.0.iter().filter(|one| one.len() > before.len() && one[..before.len()] == before);
        let mut next: Vec<String> =
            fitting.map(|one| one[before.len()].clone()).filter(|word| word.starts_with(begun)).collect();
        next.sort();
        next.dedup();
        (start, next)
    }
}

impl Completer for Words {
    type Candidate = Pair;

    fn complete(&self, line: &str, pos: usize, _: &rustyline::Context<'_>) -> rustyline::Result<(usize, Vec<Pair>)> {
        let (start, next) = self.complete(&line[..pos]);
        Ok((start, next.into_iter().map(|word| Pair { display: word.clone(), replacement: word + " " }).collect()))
    }
}

impl Hinter for Words {
    type Hint = String;
}
impl Highlighter for Words {}
impl Validator for Words {}
impl Helper for Words {}

/// For people: a list of objects is a table, an object a line for each key.
fn text(answer: &Value) -> String {
    match answer {
        Value::Array(rows) if rows.iter().all(Value::is_object) => table(rows),
        Value::Object(object) => lines(object, ""),
        other => format!("{}\n", cell(other)),
    }
}

fn lines(object: &Map<String, Value>, indent: &str) -> String {
    let line = |(key, value): (&String, &Value)| match value {
        Value::Object(inner) => format!("{indent}{key}:\n{}", lines(inner, &format!("{indent}  "))),
        Value::Array(rows) if !rows.is_empty() && rows.iter().all(Value::is_object) => {
            let table: String = table(rows).lines().map(|row| format!("{indent}  {row}\n")).collect();
            format!("{indent}{key}:\n{table}")
        }
        other => format!("{indent}{key}: {}\n", cell(other)),
    };
    object.iter().map(line).collect()
}

fn table(rows: &[Value]) -> String {
    let Some(first) = rows.first().and_then(Value::as_object) else { return "none\n".to_owned() };
    let mut heads: Vec<String> = first.keys().cloned().collect();
    heads.sort_by_key(|head| FIRST.iter().position(|first| first == head).unwrap_or(FIRST.len()));
    let cells = rows.iter().map(|row| heads.iter().map(|head| cell(&row[head])).collect::<Vec<_>>());
    let all: Vec<Vec<String>> = [heads.clone()].into_iter().chain(cells).collect();
    let width = |at: usize| all.iter().map(|row| row[at].chars().count()).max().unwrap_or_default();
    let widths: Vec<usize> = (0..heads.len()).map(width).collect();
    let line = |row: &Vec<String>| {
        let padded: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        format!("{}\n", padded.join("  ").trim_end())
    };
    all.iter().map(line).collect()
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(all) => all.iter().map(cell).collect::<Vec<_>>().join(", "),
        Value::Number(number) if number.is_f64() => {
            let rounded = format!("{:.3}", number.as_f64().unwrap_or_default());
            rounded.trim_end_matches('0').trim_end_matches('.').to_owned()
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn answers_are_tables_and_lines() {
        let actors = json!([{ "kind": "scrubber", "silent": 0.25 }, { "kind": "hour_cache", "silent": null }]);
        assert_eq!(text(&actors), "kind        silent\nscrubber    0.25\nhour_cache  -\n");
        let node = json!({ "actors": actors, "disk": { "writable": true }, "notes": ["a", "b"] });
        assert_eq!(
            text(&node),
            "actors:\n  kind        silent\n  scrubber    0.25\n  hour_cache  -\ndisk:\n  writable: true\nnotes: a, b\n"
        );
        assert_eq!(text(&json!([])), "none\n");
    }

    #[test]
    fn words_are_completed_one_by_one() {
        let words =
            Words::of(&json!([{ "kind": "stream_worker", "name": "gdq source" }, { "kind": "scrubber", "name": "" }]));
        let of = |line: &str| words.complete(line);
        assert_eq!(of("re"), (0, vec!["restart".to_owned()]));
        assert_eq!(of("restart s"), (8, vec!["scrubber".to_owned(), "stream_worker".to_owned()]));
        assert_eq!(of("restart stream_worker gdq "), (26, vec!["source".to_owned()]));
        assert_eq!(of("level d"), (6, vec!["debug".to_owned()]));
        assert_eq!(of("nothing "), (8, vec![]));
    }
}
