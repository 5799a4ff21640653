//! Any text is a time or is refused; a time is read back from its own text.
#![no_main]

use libfuzzer_sys::fuzz_target;
use segvault::model::Timestamp;

fuzz_target!(|text: &str| {
    let Ok(time) = text.parse::<Timestamp>() else { return };
    assert_eq!(time.to_string().parse(), Ok(time), "{text:?} was read as {time}");
});
