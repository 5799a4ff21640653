//! An error together with everything that caused it, as one line for the log.

use std::error::Error;
use std::fmt::Write as _;

/// `outer: middle: inner`. A `transparent` error does not repeat its source.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let _ = write!(text, ": {error}");
        cause = error.source();
    }
    text
}
