//! A profile as pprof's tools read it: <https://github.com/google/pprof/blob/main/proto/profile.proto>, of which this is the
//! part that profiles of the processor and of the heap need, in protobuf's own encoding
//! (<https://protobuf.dev/programming-guides/encoding/>). Pure.

use std::collections::HashMap;

use super::Frame;

/// The wire's types.
const VARINT: u64 = 0;
const BYTES: u64 = 2;

/// A message as it is put together.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    fn number(&mut self, field: u64, value: u64) {
        self.varint(field << 3 | VARINT);
        self.varint(value);
    }

    fn bytes(&mut self, field: u64, value: &[u8]) {
        self.varint(field << 3 | BYTES);
        self.varint(value.len() as u64);
        self.0.extend_from_slice(value);
    }

    fn packed(&mut self, field: u64, values: impl IntoIterator<Item = u64>) {
        let mut list = Self::default();
        values.into_iter().for_each(|value| list.varint(value));
        self.bytes(field, &list.0);
    }
}

/// Each text once; the first is the empty one, as the format asks for.
struct Texts {
    all: Vec<String>,
    known: HashMap<String, u64>,
}

impl Texts {
    fn new() -> Self {
        Self { all: vec![String::new()], known: HashMap::from([(String::new(), 0)]) }
    }

    fn number(&mut self, text: &str) -> u64 {
        if let Some(number) = self.known.get(text) {
            return *number;
        }
        let number = self.all.len() as u64;
        self.all.push(text.to_owned());
        self.known.insert(text.to_owned(), number);
        number
    }
}

/// What stands once in a profile of `N` values a stack.
pub(super) struct Sheet<const N: usize> {
    /// What the values are, and in which unit.
    pub kinds: [(&'static str, &'static str); N],
    /// What lies between two samples.
    pub period: (&'static str, &'static str, u64),
    pub began_unix_nanos: i64,
    pub took_nanos: i64,
}

pub(super) struct Row<'a, const N: usize> {
    pub thread: Option<&'a str>,
    /// The innermost last.
    pub frames: &'a [Frame],
    pub values: [u64; N],
}

pub(super) fn encode<'a, const N: usize>(sheet: &Sheet<N>, rows: impl Iterator<Item = Row<'a, N>>) -> Vec<u8> {
    let (mut texts, mut message) = (Texts::new(), Message::default());
    let value_type = |texts: &mut Texts, kind: &str, unit: &str| {
        let mut value_type = Message::default();
        value_type.number(1, texts.number(kind));
        value_type.number(2, texts.number(unit));
        value_type.0
    };
    for (kind, unit) in sheet.kinds {
        message.bytes(1, &value_type(&mut texts, kind, unit));
    }
    let mut places: HashMap<&Frame, u64> = HashMap::new();
    let mut functions: HashMap<(&str, &str), u64> = HashMap::new();
    let mut tables = Message::default();
    for row in rows {
        let mut locations = Vec::with_capacity(row.frames.len());
        // The innermost first.
        for frame in row.frames.iter().rev() {
            let next = places.len() as u64 + 1;
            let place = *places.entry(frame).or_insert(next);
            if place == next {
                let next = functions.len() as u64 + 1;
                let function = *functions.entry((&frame.function, &frame.file)).or_insert(next);
                if function == next {
                    tables.bytes(5, &function_of(&mut texts, function, frame));
                }
                tables.bytes(4, &location_of(place, function, frame.line));
            }
            locations.push(place);
        }
        let mut sample = Message::default();
        sample.packed(1, locations);
        sample.packed(2, row.values);
        if let Some(thread) = row.thread {
            let mut label = Message::default();
            label.number(1, texts.number("thread"));
            label.number(2, texts.number(thread));
            sample.bytes(3, &label.0);
        }
        message.bytes(2, &sample.0);
    }
    message.0.append(&mut tables.0);
    message.number(9, sheet.began_unix_nanos as u64);
    message.number(10, sheet.took_nanos as u64);
    let (kind, unit, period) = sheet.period;
    message.bytes(11, &value_type(&mut texts, kind, unit));
    message.number(12, period);
    texts.all.iter().for_each(|text| message.bytes(6, text.as_bytes()));
    message.0
}

fn function_of(texts: &mut Texts, number: u64, frame: &Frame) -> Vec<u8> {
    let mut function = Message::default();
    function.number(1, number);
    let name = texts.number(&frame.function);
    function.number(2, name);
    function.number(3, name);
    function.number(4, texts.number(&frame.file));
    function.0
}

fn location_of(number: u64, function: u64, line: u32) -> Vec<u8> {
    let (mut location, mut at) = (Message::default(), Message::default());
    at.number(1, function);
    at.number(2, u64::from(line));
    location.number(1, number);
    location.bytes(4, &at.0);
    location.0
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::CpuProfile;
    use super::*;

    #[test]
    fn a_profile_of_two_stacks_is_encoded_byte_by_byte() {
        let frame = |function: &str, line| Frame { function: function.into(), file: "f".into(), line };
        let thread = Frame { function: "t".into(), file: String::new(), line: 0 };
        let profile = CpuProfile {
            stacks: [(vec![thread.clone(), frame("a", 1)], 1), (vec![thread, frame("a", 1), frame("b", 300)], 2)]
                .into(),
            took: Duration::from_nanos(5),
            samples_per_second: 1_000_000_000,
        };
        // Texts: 0 "", 1 samples, 2 count, 3 cpu, 4 nanoseconds, 5 a, 6 f, 7 thread, 8 t, 9 b.
        let expected = [
            &[0x0a, 4, 0x08, 1, 0x10, 2, 0x0a, 4, 0x08, 3, 0x10, 4][..],
            &[0x12, 13, 0x0a, 1, 1, 0x12, 2, 1, 1, 0x1a, 4, 0x08, 7, 0x10, 8],
            &[0x12, 14, 0x0a, 2, 2, 1, 0x12, 2, 2, 2, 0x1a, 4, 0x08, 7, 0x10, 8],
            &[0x2a, 8, 0x08, 1, 0x10, 5, 0x18, 5, 0x20, 6, 0x22, 8, 0x08, 1, 0x22, 4, 0x08, 1, 0x10, 1],
            &[0x2a, 8, 0x08, 2, 0x10, 9, 0x18, 9, 0x20, 6, 0x22, 9, 0x08, 2, 0x22, 5, 0x08, 2, 0x10, 0xac, 2],
            &[0x48, 2, 0x50, 5, 0x5a, 4, 0x08, 3, 0x10, 4, 0x60, 1],
            b"\x32\x00\x32\x07samples\x32\x05count\x32\x03cpu\x32\x0bnanoseconds",
            b"\x32\x01a\x32\x01f\x32\x06thread\x32\x01t\x32\x01b",
        ]
        .concat();
        assert_eq!(profile.protobuf(7), expected);
    }
}
