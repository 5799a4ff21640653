//! What was being done when something panicked: our own functions on the stack, the innermost first.
//!
//! An actor's handler is among them with the message that it was given, as in `<StreamWorker as Handler<Poll>>::handle`.

use std::backtrace::Backtrace;

/// So many tell what was being done; below them is how the runtime came to do it.
const MOST: usize = 12;
const OURS: &str = "segvault::";

/// Of this place. Takes milliseconds, as it reads the program's own symbols.
pub(super) fn here() -> String {
    ours(&Backtrace::force_capture().to_string())
}

/// The functions of ours in a backtrace, as text (`INDEX: FUNCTION` on a line each, and where it is on the next), without paths
/// of modules, closures and the log's own.
fn ours(backtrace: &str) -> String {
    let mut names: Vec<String> = Vec::new();
    let functions = backtrace.lines().filter_map(|line| {
        let (number, function) = line.trim_start().split_once(": ")?;
        number.parse::<u32>().ok().map(|_| function)
    });
    for function in functions.filter(|function| function.contains(OURS) && !function.contains("segvault::log::")) {
        let name = without_paths(&function.replace("::{{closure}}", "").replace("::{closure#0}", ""));
        if names.last() != Some(&name) {
            names.push(name);
        }
    }
    names.truncate(MOST);
    names.join(" < ")
}

/// `<segvault::actors::x::Worker as actix::Handler<segvault::actors::x::Poll>>::handle` without what leads to the types; of a
/// function, the module that it is in stays.
fn without_paths(function: &str) -> String {
    let is_of_a_name = |letter: char| letter.is_alphanumeric() || "_:".contains(letter);
    let mut short = String::new();
    for word in function.split_inclusive(|letter| !is_of_a_name(letter)) {
        let (path, end) = match word.char_indices().next_back() {
            Some((at, last)) if !is_of_a_name(last) => word.split_at(at),
            _ => (word, ""),
        };
        let parts: Vec<&str> = path.split("::").collect();
        // What follows a bracket begins with "::" and is a part of its own.
        let kept = if path.starts_with("::") || parts.len() < 2 { path.to_owned() } else { last_two(&parts) };
        short.push_str(&kept);
        short.push_str(end);
    }
    short
}

fn last_two(parts: &[&str]) -> String {
    let [.., module, name] = parts else { return parts.concat() };
    // A type says enough; a function's name alone does not.
    if name.starts_with(char::is_uppercase) { (*name).to_owned() } else { format!("{module}::{name}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_actor_and_its_message_are_told_without_what_the_runtime_did() {
        let backtrace = "   0: std::backtrace::Backtrace::create\n   1: segvault::log::Log::report_panics::{{closure}}\n\
                         \x20 2: core::panicking::panic\n   3: segvault::ingest::tracker::Tracker::step\n             at ./src/ingest/tracker.rs:3:4\n\
                         \x20 4: segvault::ingest::tracker::Tracker::step::{{closure}}\n\
                         \x20 5: <segvault::actors::stream_worker::StreamWorker as actix::handler::Handler<segvault::actors::stream_worker::Poll>>::handle\n\
                         \x20 6: <actix::context::Context<A> as core::future::Future>::poll\n  7: segvault::node::run\n";
        assert_eq!(ours(backtrace), "Tracker::step < <StreamWorker as Handler<Poll>>::handle < node::run");
        assert_eq!(ours("nothing"), "");
    }
}
