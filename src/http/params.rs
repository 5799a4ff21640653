//! Parses paths and query strings into types of `model`.

use actix_web::http::header;
use percent_encoding::percent_decode_str;

use super::HttpError;
use crate::model::{BadName, Channel, Hour, Quality, Span, Timestamp};

pub fn channel(text: &str) -> Result<Channel, HttpError> {
    text.parse().map_err(|why| HttpError::Name { what: "channel", why })
}

pub fn quality(text: &str) -> Result<Quality, HttpError> {
    text.parse().map_err(|why| HttpError::Name { what: "quality", why })
}

/// An hour, or `None` for a plain name that is no hour: there is no such directory.
pub fn hour(text: &str) -> Result<Option<Hour>, HttpError> {
    let plain: Result<Quality, BadName> = text.parse();
    plain.map_err(|why| HttpError::Name { what: "hour", why })?;
    Ok(text.parse().ok())
}

/// A query string's parameters, in order.
pub struct Query(Vec<(String, String)>);

impl Query {
    /// `+` stands for itself: of our values only times have one, before a zone, and hardly anyone escapes it.
    pub fn parse(text: &str) -> Self {
        let decode = |part: &str| percent_decode_str(part).decode_utf8_lossy().into_owned();
        let pairs = text.split('&').filter(|pair| !pair.is_empty());
        Self(
            pairs.map(|pair| pair.split_once('=').unwrap_or((pair, ""))).map(|(k, v)| (decode(k), decode(v))).collect(),
        )
    }

    pub fn get(&self, key: &str) -> Option<&str> {
        self.all(key).next()
    }

    pub fn all<'q>(&'q self, key: &str) -> impl Iterator<Item = &'q str> {
        let key = key.to_owned();
        self.0.iter().filter(move |(name, _)| *name == key).map(|(_, value)| value.as_str())
    }

    pub fn time(&self, parameter: &'static str) -> Result<Option<Timestamp>, HttpError> {
        self.get(parameter).map(|text| time(parameter, text)).transpose()
    }

    pub fn flag(&self, parameter: &'static str) -> Result<bool, HttpError> {
        match self.get(parameter) {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(_) => Err(HttpError::Parameter { parameter, why: "it must be true or false".into() }),
        }
    }
}

pub fn time(parameter: &'static str, text: &str) -> Result<Timestamp, HttpError> {
    with_blank(text).parse().map_err(|why| HttpError::Time { parameter, why })
}

/// `START,END` or `START+DURATION`.
pub fn range(parameter: &'static str, text: &str) -> Result<Span, HttpError> {
    let ends: Vec<String> = text.split(',').map(with_blank).collect();
    ends.join(",").parse().map_err(|why| HttpError::of_range(parameter, why))
}

/// A form encoder writes the blank between date and time as `+`. A duration after a bare date stays one.
fn with_blank(text: &str) -> String {
    match text.as_bytes().get(10..14) {
        Some([b'+', _, _, b':']) => text.replacen('+', " ", 1),
        _ => text.to_owned(),
    }
}

/// If-None-Match: whether the client holds what has this tag.
pub fn matches_etag(header: Option<&header::HeaderValue>, etag: &header::EntityTag) -> bool {
    let Some(text) = header.and_then(|value| value.to_str().ok()) else { return false };
    text.split(',').map(str::trim).any(|candidate| {
        candidate == "*" || candidate.parse().is_ok_and(|candidate: header::EntityTag| candidate.weak_eq(etag))
    })
}

/// Accept-Encoding: whether gzip is taken, by name and not with the weight 0.
pub fn takes_gzip(header: Option<&header::HeaderValue>) -> bool {
    let Some(text) = header.and_then(|value| value.to_str().ok()) else { return false };
    text.split(',').any(|coding| {
        let (name, weight) = coding.split_once(';').unwrap_or((coding, "q=1"));
        let weight = weight.trim().strip_prefix("q=").and_then(|weight| weight.parse::<f32>().ok());
        name.trim().eq_ignore_ascii_case("gzip") && weight.is_some_and(|weight| weight > 0.0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_however_they_are_escaped() {
        for text in [
            "start=2026-01-02T03:04:05%2B05:00",
            "start=2026-01-02T03:04:05+05:00",
            "start=2026-01-02+03:04:05",
            "start=2026-01-02%2003:04:05Z",
            "a&b=&start=2026-01-02T03:04:05&start=junk",
        ] {
            let time = Query::parse(text).time("start").unwrap().unwrap();
            assert_eq!(time.to_string(), "2026-01-02T03:04:05.000000", "{text}");
        }
        assert!(Query::parse("start=").time("start").is_err());
        assert!(Query::parse("").time("start").unwrap().is_none());
    }

    #[test]
    fn ranges_are_read_however_they_are_escaped() {
        for text in [
            "2026-01-02T03:04:05,2026-01-02T03:05:35",
            "2026-01-02+03:04:05,2026-01-02+03:05:35",
            "2026-01-02+03:04:05+1m30s",
            "2026-01-02T03:04:05+1m30s",
        ] {
            let span = range("range", text).unwrap();
            assert_eq!(span.to_string(), "2026-01-02T03:04:05.000000/2026-01-02T03:05:35.000000", "{text}");
        }
        assert_eq!(range("range", "2026-01-02+30s").unwrap().duration().as_secs(), 30);
    }

    #[test]
    fn gzip_is_sent_only_to_who_takes_it() {
        for (text, takes) in [
            ("gzip, deflate, br", true),
            ("br;q=1.0, GZIP;q=0.2", true),
            ("deflate", false),
            ("gzip;q=0", false),
            ("gzip; q=0.0", false),
            ("identity, *", false),
            ("", false),
        ] {
            assert_eq!(takes_gzip(Some(&header::HeaderValue::from_static(text))), takes, "{text}");
        }
        assert!(!takes_gzip(None));
    }

    #[test]
    fn repeated_parameters_keep_their_order() {
        let query = Query::parse("range=a,b&x=1&range=c%2Cd");
        assert_eq!(query.all("range").collect::<Vec<_>>(), ["a,b", "c,d"]);
        assert!(Query::parse("allow_holes=maybe").flag("allow_holes").is_err());
        assert!(Query::parse("allow_holes=true").flag("allow_holes").unwrap());
    }
}
