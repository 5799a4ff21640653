//! The words of an operator's command, parsed.

use crate::log::Level;

/// Each command and what it does.
pub const HELP: &[(&str, &str)] = &[
    ("node", "how the node is: the disk, what is recorded, peers, actors"),
    ("actors", "its actors: alive, since when silent, how often built anew"),
    ("peers", "those that it copies from, how they answer and how far it is behind"),
    ("restart KIND [NAME]", "build an actor anew, and those that share its thread"),
    ("level", "how much is logged"),
    ("level LEVEL", "log that much from now on: error, warning, info, debug"),
    ("level MODULE LEVEL", "of a module alone, such as peers or actors::stream_worker"),
    ("level MODULE default", "of a module as of all others again"),
    ("inflight", "answers, ffmpeg and disk work under way, and how much may be"),
    ("caches", "what is kept between requests"),
    ("metrics [WORD…]", "samples of the metrics whose names have the words in them"),
    ("help", "this"),
];

/// What an operator wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    Help,
    Node,
    Actors,
    Peers,
    Restart { kind: String, name: String },
    Level,
    SetLevel { module: Option<String>, level: Level },
    ClearLevel { module: String },
    InFlight,
    Caches,
    Metrics { words: Vec<String> },
}

impl Command {
    /// The error says what to write.
    pub fn parse(words: &[String]) -> Result<Self, String> {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let level = |word: &str| {
            word.parse().map_err(|_| format!("{word:?} is no level: error, warning, info, debug or trace"))
        };
        Ok(match words[..] {
            [] | ["help"] => Self::Help,
            ["node"] => Self::Node,
            ["actors"] => Self::Actors,
            ["peers"] => Self::Peers,
            ["restart", kind] => Self::Restart { kind: kind.to_owned(), name: String::new() },
            // Names have blanks in them; quoting is not asked for.
            ["restart", kind, ref name @ ..] if !name.is_empty() => {
                Self::Restart { kind: kind.to_owned(), name: name.join(" ") }
            }
            ["level"] => Self::Level,
            ["level", word] => Self::SetLevel { module: None, level: level(word)? },
            ["level", module, "default"] => Self::ClearLevel { module: module.to_owned() },
            ["level", module, word] => Self::SetLevel { module: Some(module.to_owned()), level: level(word)? },
            ["inflight"] => Self::InFlight,
            ["caches"] => Self::Caches,
            ["metrics", ref words @ ..] => {
                Self::Metrics { words: words.iter().map(|word| (*word).to_owned()).collect() }
            }
            [word, ..] => {
                let usages: Vec<&str> = HELP
                    .iter()
                    .map(|(usage, _)| *usage)
                    .filter(|usage| usage.split(' ').next() == Some(word))
                    .collect();
                return Err(match usages[..] {
                    [] => format!("{word:?} is no command; help lists them"),
                    _ => format!("write {}", usages.join(", or ")),
                });
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Command, String> {
        Command::parse(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn each_command_of_the_help_is_one_and_others_are_refused_with_advice() {
        for (usage, _) in HELP {
            let line = usage.replace(['[', ']', '…'], "").replace("LEVEL", "debug");
            assert!(parse(&line).is_ok(), "{usage}");
        }
        let of_worker = Command::Restart { kind: "stream_worker".into(), name: "ch source".into() };
        assert_eq!(parse("restart stream_worker ch source"), Ok(of_worker));
        assert_eq!(
            parse("level peers warn"),
            Ok(Command::SetLevel { module: Some("peers".into()), level: Level::Warning })
        );
        for (line, said) in [
            ("actor", "\"actor\" is no command; help lists them"),
            ("restart", "write restart KIND [NAME]"),
            ("node x", "write node"),
            ("level loud", "\"loud\" is no level: error, warning, info, debug or trace"),
        ] {
            assert_eq!(parse(line).unwrap_err(), said);
        }
    }
}
