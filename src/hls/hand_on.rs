//! Hands parameters on: each address in a playlist gets those of the playlist's own address, as players drop them.
//!
//! Promises: nothing but addresses changes, and the same text changes in the same way, so that what grew by appending still
//! does.

use bytes::Bytes;

/// Takes a text in pieces, which may end anywhere.
#[derive(Debug, Clone)]
pub struct HandOn {
    /// `a=b&c=d`.
    parameters: Box<str>,
    /// A line whose end has not come.
    begun: Vec<u8>,
}

impl HandOn {
    pub fn new(parameters: &str) -> Self {
        Self { parameters: parameters.into(), begun: Vec::new() }
    }

    /// The piece, as far as its last line has ended.
    pub fn push(&mut self, piece: &[u8]) -> Bytes {
        let mut text = Vec::with_capacity(piece.len() + piece.len() / 2);
        for line in piece.split_inclusive(|byte| *byte == b'\n') {
            if !line.ends_with(b"\n") {
                self.begun.extend_from_slice(line);
            } else if self.begun.is_empty() {
                self.push_line(&mut text, line);
            } else {
                let mut begun = std::mem::take(&mut self.begun);
                begun.extend_from_slice(line);
                self.push_line(&mut text, &begun);
            }
        }
        text.into()
    }

    /// The line that had no end.
    pub fn end(mut self) -> Bytes {
        let mut text = Vec::new();
        let begun = std::mem::take(&mut self.begun);
        self.push_line(&mut text, &begun);
        text.into()
    }

    fn push_line(&self, text: &mut Vec<u8>, line: &[u8]) {
        const ATTRIBUTE: &[u8] = b"URI=\"";
        let body = line.trim_ascii_end();
        let address = if body.starts_with(b"#") {
            let begin = body.windows(ATTRIBUTE.len()).position(|window| window == ATTRIBUTE);
            begin.map(|begin| begin + ATTRIBUTE.len()).and_then(|begin| {
                let len = body[begin..].iter().position(|byte| *byte == b'"')?;
                Some(begin..begin + len)
            })
        } else {
            (!body.is_empty()).then_some(0..body.len())
        };
        let Some(address) = address else {
            text.extend_from_slice(line);
            return;
        };
        text.extend_from_slice(&line[..address.end]);
        text.push(if line[address.clone()].contains(&b'?') { b'&' } else { b'?' });
        text.extend_from_slice(self.parameters.as_bytes());
        text.extend_from_slice(&line[address.end..]);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn whole(text: &str, cuts: &[usize]) -> String {
        let mut hand_on = HandOn::new("sig=x&until=9");
        let (mut out, mut from) = (Vec::new(), 0);
        for cut in cuts.iter().copied().filter(|cut| *cut <= text.len()).chain([text.len()]) {
            out.extend_from_slice(&hand_on.push(&text.as_bytes()[from.min(cut)..cut]));
            from = from.max(cut);
        }
        out.extend_from_slice(&hand_on.end());
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn addresses_get_the_parameters_and_nothing_else_changes() {
        let text = "#EXTM3U\n#EXT-X-VERSION:6\n#EXT-X-MAP:URI=\"/segments/c/q/H/a.ts\",BYTERANGE=\"9@0\"\n\
                    #EXTINF:2.000000,\n/segments/c/q/H/a.ts\n\n/playlist/c/q.m3u8?start=1\r\n#EXT-X-ENDLIST\n/last";
        let expected = "#EXTM3U\n#EXT-X-VERSION:6\n\
                        #EXT-X-MAP:URI=\"/segments/c/q/H/a.ts?sig=x&until=9\",BYTERANGE=\"9@0\"\n\
                        #EXTINF:2.000000,\n/segments/c/q/H/a.ts?sig=x&until=9\n\n\
                        /playlist/c/q.m3u8?start=1&sig=x&until=9\r\n#EXT-X-ENDLIST\n/last?sig=x&until=9";
        assert_eq!(whole(text, &[]), expected);
        for cut in 0..text.len() {
            assert_eq!(whole(text, &[cut]), expected, "cut at {cut}");
        }
        assert_eq!(whole("", &[]), "");
    }

    proptest! {
        #[test]
        fn a_text_that_grew_still_does(lines in proptest::collection::vec("#?[a-z/?=\"]{0,9}", 0..20), kept in 0usize..20) {
            let text = |lines: &[String]| lines.iter().map(|line| format!("{line}\n")).collect::<String>();
            let (earlier, later) = (text(&lines[..kept.min(lines.len())]), text(&lines));
            prop_assert!(whole(&later, &[7, 20]).starts_with(&whole(&earlier, &[3])));
        }
    }
}
