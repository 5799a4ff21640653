//! Reads a crate's licence: an SPDX expression, or the older form with slashes.
//!
//! Promises: what it cannot read is an error, never an allowed licence.

/// Whether somebody who accepts only `allowed` may use what is licensed so. AND binds tighter than OR.
pub fn is_allowed(expression: &str, allowed: &[String]) -> Result<bool, String> {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut reader = Reader { words: &words, allowed };
    match (reader.either(), reader.words) {
        (Some(allowed), []) => Ok(allowed),
        _ => Err(format!("{expression:?} is no licence expression")),
    }
}

struct Reader<'a> {
    words: &'a [&'a str],
    allowed: &'a [String],
}

impl Reader<'_> {
    fn take(&mut self, word: &str) -> bool {
        let found = self.words.first() == Some(&word);
        if found {
            self.words = &self.words[1..];
        }
        found
    }

    fn either(&mut self) -> Option<bool> {
        let mut allowed = self.both()?;
        while self.take("OR") {
            allowed |= self.both()?;
        }
        Some(allowed)
    }

    fn both(&mut self) -> Option<bool> {
        let mut allowed = self.one()?;
        while self.take("AND") {
            allowed &= self.one()?;
        }
        Some(allowed)
    }

    fn one(&mut self) -> Option<bool> {
        if self.take("(") {
            let allowed = self.either()?;
            return self.take(")").then_some(allowed);
        }
        let mut licence = self.name()?;
        if self.take("WITH") {
            licence = format!("{licence} WITH {}", self.name()?);
        }
        Some(self.allowed.contains(&licence))
    }

    fn name(&mut self) -> Option<String> {
        let (name, rest) = self.words.split_first()?;
        if ["AND", "OR", "WITH", "(", ")"].contains(name) {
            return None;
        }
        self.words = rest;
        Some((*name).to_owned())
    }
}

#[test]
fn expressions_are_read_as_spdx_says() {
    let allowed = ["MIT".to_owned(), "Zlib".to_owned(), "A WITH B".to_owned()];
    for (expression, expected) in [
        ("MIT", Some(true)),
        ("GPL-3.0-only", Some(false)),
        ("GPL-3.0-only OR MIT", Some(true)),
        ("GPL-3.0-only/MIT", Some(true)),
        ("GPL-3.0-only AND MIT", Some(false)),
        ("MIT OR X AND Y", Some(true)),
        ("(MIT OR X) AND Y", Some(false)),
        ("(MIT OR X) AND Zlib", Some(true)),
        ("A WITH B", Some(true)),
        ("A", Some(false)),
        ("MIT WITH B", Some(false)),
        ("", None),
        ("MIT OR", None),
        ("MIT Zlib", None),
        ("(MIT", None),
        ("MIT)", None),
    ] {
        assert_eq!(is_allowed(expression, &allowed).ok(), expected, "{expression:?}");
    }
}
