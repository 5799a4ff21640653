//! Reads the paths that a source file names (`crate::store::Layout`, `std::fs::write`), outside of its tests.
//!
//! Promises: comments, strings and items under `#[cfg(test)]` name nothing; a group in braces gives one path per name;
//! `super` that leaves the room is told as the path from the crate's root that it is.
//! Never: expands macros, but reads what stands in them.

use std::iter::Peekable;

use proc_macro2::token_stream::IntoIter;
use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// A path, as it stands in the file, and its line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedPath {
    pub line: usize,
    pub parts: Vec<String>,
}

impl NamedPath {
    /// Whether `parts` stand in it, one after the other.
    pub fn holds(&self, parts: &[&str]) -> bool {
        self.parts.windows(parts.len()).any(|window| window.iter().eq(parts))
    }
}

/// What a file names.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Named {
    pub paths: Vec<NamedPath>,
    /// Modules in files of their own that are there for tests only.
    pub test_modules: Vec<String>,
}

/// Reads a file whose module lies `depth` levels below the crate's root: 0 for `lib.rs`, 1 for `store/mod.rs`.
pub fn read(source: &str, depth: usize) -> Result<Named, String> {
    let tokens: TokenStream = source.parse().map_err(|error| format!("{error}"))?;
    let mut named = Named::default();
    walk(tokens, &mut named);
    for path in &mut named.paths {
        from_the_root(&mut path.parts, depth);
    }
    Ok(named)
}

type Tokens = Peekable<IntoIter>;

fn walk(tokens: TokenStream, named: &mut Named) {
    let mut tokens = tokens.into_iter().peekable();
    while let Some(token) = tokens.next() {
        match token {
            TokenTree::Punct(punct) if punct.as_char() == '#' && next_is_cfg_test(&mut tokens) => {
                skip_item(&mut tokens, named);
            }
            TokenTree::Ident(first) => {
                path(first.span().start().line, vec![first.to_string()], &mut tokens, &mut named.paths);
            }
            TokenTree::Group(group) => walk(group.stream(), named),
            TokenTree::Punct(_) | TokenTree::Literal(_) => {}
        }
    }
}

fn next_is_cfg_test(tokens: &mut Tokens) -> bool {
    let Some(TokenTree::Group(group)) = tokens.peek() else { return false };
    let text = group.to_string().replace(' ', "");
    let is_test = group.delimiter() == Delimiter::Bracket && text == "[cfg(test)]";
    if is_test {
        tokens.next();
    }
    is_test
}

/// To the item's body or its semicolon.
fn skip_item(tokens: &mut Tokens, named: &mut Named) {
    let mut module = None;
    while let Some(token) = tokens.next() {
        match token {
            TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => return,
            TokenTree::Punct(punct) if punct.as_char() == ';' => {
                named.test_modules.extend(module);
                return;
            }
            TokenTree::Ident(word) if word == "mod" => module = tokens.next().map(|name| name.to_string()),
            _ => {}
        }
    }
}

/// The rest of a path that begins with `parts`. A lone identifier is a path of one part.
fn path(line: usize, mut parts: Vec<String>, tokens: &mut Tokens, paths: &mut Vec<NamedPath>) {
    while next_is_double_colon(tokens) {
        match tokens.peek() {
            Some(TokenTree::Ident(_) | TokenTree::Punct(_)) => {
                let part = tokens.next().expect("it was just looked at").to_string();
                // `::<` gives generics, which end what a path can say of rooms.
                if part == "<" {
                    break;
                }
                parts.push(part);
            }
            Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace => {
                let group = group.stream();
                tokens.next();
                return grouped(&parts, group, paths);
            }
            Some(TokenTree::Group(_) | TokenTree::Literal(_)) | None => break,
        }
    }
    paths.push(NamedPath { line, parts });
}

/// `a::{b, c::d}`: each name in the braces goes on from `parts`.
fn grouped(parts: &[String], group: TokenStream, paths: &mut Vec<NamedPath>) {
    let mut tokens = group.into_iter().peekable();
    while let Some(token) = tokens.next() {
        let line = token.span().start().line;
        let name = token.to_string();
        if name == "as" {
            tokens.next();
        } else if name != "," {
            let first = Some(name).filter(|name| name != "self");
            path(line, parts.iter().cloned().chain(first).collect(), &mut tokens, paths);
        }
    }
}

/// Takes `::` if it comes next.
fn next_is_double_colon(tokens: &mut Tokens) -> bool {
    let mut ahead = tokens.clone();
    let mut colon = || matches!(ahead.next(), Some(TokenTree::Punct(punct)) if punct.as_char() == ':');
    let found = colon() && colon();
    if found {
        *tokens = ahead;
    }
    found
}

/// Rewrites `super::super::x` to `crate::x` where that is where it leads.
fn from_the_root(parts: &mut Vec<String>, depth: usize) {
    let climbs = parts.iter().take_while(|part| *part == "super").count();
    if climbs > 0 && climbs >= depth {
        parts.splice(..climbs, ["crate".to_owned()]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(source: &str, depth: usize) -> Vec<String> {
        let named = read(source, depth).unwrap();
        named.paths.iter().filter(|path| path.parts.len() > 1).map(|path| path.parts.join("::")).collect()
    }

    #[test]
    fn groups_are_one_path_per_name() {
        let source = "use crate::store::{self, Layout as L, list::{hours, *}};";
        let expected = ["crate::store", "crate::store::Layout", "crate::store::list::hours", "crate::store::list::*"];
        assert_eq!(paths(source, 2), expected);
    }

    #[test]
    fn only_code_names_anything() {
        let source = r##"
            //! crate::a
            /// crate::b
            fn f<'a>(x: &'a str) { let _ = ("crate::c", r#"crate::d"#, 'e'); /* crate::f */ y(crate::g::<u8>()) }
            macro_rules! m { () => { $crate::h::i() } }
        "##;
        assert_eq!(paths(source, 1), ["crate::g", "crate::h::i"]);
    }

    #[test]
    fn tests_are_passed_over_and_their_files_told() {
        let source = "
            #[cfg(test)] mod tests;
            #[cfg(test)] #[allow(x)] pub(super) mod inner { use crate::http::A; }
            #[cfg(test)] use crate::http::B;
            #[cfg(unix)] use crate::http::C;";
        assert_eq!(paths(source, 1), ["crate::http::C"]);
        assert_eq!(read(source, 1).unwrap().test_modules, ["tests"]);
    }

    #[test]
    fn super_is_followed_to_the_root() {
        let source = "use super::super::http; use super::plan;";
        assert_eq!(paths(source, 2), ["crate::http", "super::plan"]);
        assert_eq!(paths("use super::http;", 1), ["crate::http"]);
    }

    #[test]
    fn a_path_knows_its_line() {
        let named = read("\n\nuse a::{\n    b,\n    c,\n};", 1).unwrap();
        let lines: Vec<usize> = named.paths.iter().filter(|path| path.parts.len() > 1).map(|path| path.line).collect();
        assert_eq!(lines, [4, 5]);
    }
}
