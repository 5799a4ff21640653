//! Until when a certificate is good (RFC 5280 §4.1), read from its DER.

use crate::model::Timestamp;

const SEQUENCE: u8 = 0x30;
/// `[0]`, which holds the version.
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// `None` where it cannot be read.
pub fn not_after(der: &[u8]) -> Option<Timestamp> {
    let certificate = Reader(der).expect(SEQUENCE)?;
    let mut fields = Reader(Reader(certificate).expect(SEQUENCE)?);
    let first = fields.next()?;
    // Without a version, the first field is the serial number already.
    if first.0 == VERSION {
        fields.next()?;
    }
    let _algorithm = fields.next()?;
    let _issuer = fields.next()?;
    let mut validity = Reader(fields.expect(SEQUENCE)?);
    let _not_before = validity.next()?;
    let (tag, text) = validity.next()?;
    let text = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let (century, text) = match tag {
        // RFC 5280 §4.1.2.5.1: up to 49 it is this century.
        UTC_TIME if text.len() == 12 => (if text < "50" { "20" } else { "19" }, text),
        GENERALIZED_TIME if text.len() == 14 => ("", text),
        _ => return None,
    };
    let digits = format!("{century}{text}");
    let part = |from: usize, to: usize| &digits[from..to];
    let text =
        format!("{}-{}-{}T{}:{}:{}", part(0, 4), part(4, 6), part(6, 8), part(8, 10), part(10, 12), part(12, 14));
    text.parse().ok()
}

/// Elements one after the other.
struct Reader<'d>(&'d [u8]);

impl<'d> Reader<'d> {
    fn next(&mut self) -> Option<(u8, &'d [u8])> {
        let (&tag, rest) = self.0.split_first()?;
        let (&first, rest) = rest.split_first()?;
        let (len, rest) = match first {
            0..=0x7f => (usize::from(first), rest),
            // The length's own length; no certificate takes more than three bytes.
            0x81..=0x83 => {
                let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
                (digits.iter().fold(0, |len, digit| len << 8 | usize::from(*digit)), rest)
            }
            _ => return None,
        };
        let (body, rest) = rest.split_at_checked(len)?;
        self.0 = rest;
        Some((tag, body))
    }

    fn expect(&mut self, wanted: u8) -> Option<&'d [u8]> {
        self.next().filter(|(tag, _)| *tag == wanted).map(|(_, body)| body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All that is read of a certificate, around a time.
    fn certificate(version: bool, time: &[u8]) -> Vec<u8> {
        let element = |tag: u8, body: &[u8]| [&[tag, 0x82, (body.len() >> 8) as u8, body.len() as u8], body].concat();
        let validity = [element(UTC_TIME, b"200101000000Z"), time.to_vec()].concat();
        let fields = [
            if version { element(VERSION, &[2, 1, 2]) } else { Vec::new() },
            element(2, &[7]),
            element(SEQUENCE, b"algorithm"),
            element(SEQUENCE, b"issuer"),
            element(SEQUENCE, &validity),
            element(SEQUENCE, b"subject"),
        ];
        element(SEQUENCE, &element(SEQUENCE, &fields.concat()))
    }

    #[test]
    fn the_end_of_a_certificate_is_read() {
        for (time, expected) in [
            (&b"\x17\x0d260102030405Z"[..], Some("2026-01-02T03:04:05.000000")),
            (b"\x17\x0d500102030405Z", Some("1950-01-02T03:04:05.000000")),
            (b"\x18\x0f20500102030405Z", Some("2050-01-02T03:04:05.000000")),
            (b"\x17\x0d261302030405Z", None),
            (b"\x17\x0c26010203040Z", None),
            (b"\x17\x0d26010203040xZ", None),
            (b"\x02\x0d260102030405Z", None),
        ] {
            for version in [false, true] {
                let found = not_after(&certificate(version, time)).map(|time| time.to_string());
                assert_eq!(found.as_deref(), expected, "{time:?}");
            }
        }
    }

    #[test]
    fn what_is_no_certificate_has_no_end() {
        let good = certificate(true, b"\x17\x0d260102030405Z");
        for len in 0..good.len() {
            assert_eq!(not_after(&good[..len]), None);
        }
        for place in 0..good.len() {
            let mut bad = good.clone();
            bad[place] ^= 0xff;
            let _ = not_after(&bad);
        }
    }
}
