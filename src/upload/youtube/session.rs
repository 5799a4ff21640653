//! A resumable upload's session: what it says of itself, and which bytes go next.
//!
//! Source: "Resumable Uploads", YouTube Data API.

use awc::http::StatusCode;
use serde::{Deserialize, Serialize};
use url::Url;

use crate::model::Timestamp;
use crate::upload::{Upload, UploadError, UploadTicket};

/// All chunks but the last are multiples of it.
pub const CHUNK_UNIT: u64 = 256 << 10;

/// How far a session is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// So many bytes have arrived.
    At(u64),
    /// The video of this id exists.
    Whole(String),
    /// Nobody knows the session any more. It is forgotten after a week, and after some failures; the video may exist.
    Gone,
}

/// What an answer in a session says; `None` where it says something else, as an error does.
pub fn standing(status: StatusCode, range: Option<&str>, body: &[u8]) -> Option<Standing> {
    #[derive(Deserialize)]
    struct Id {
        id: String,
    }
    match status {
        StatusCode::OK | StatusCode::CREATED => {
            let id = serde_json::from_slice::<Id>(body).ok()?.id;
            super::resources::is_video_id(&id).then_some(Standing::Whole(id))
        }
        StatusCode::PERMANENT_REDIRECT => arrived(range).map(Standing::At),
        StatusCode::NOT_FOUND | StatusCode::GONE => Some(Standing::Gone),
        _ => None,
    }
}

/// `bytes=0-524287` are 524288 bytes; no header is none.
fn arrived(range: Option<&str>) -> Option<u64> {
    let Some(range) = range else { return Some(0) };
    let last = range.trim().strip_prefix("bytes=0-").or_else(|| range.trim().strip_prefix("0-"))?;
    last.parse::<u64>().ok()?.checked_add(1)
}

/// Where the next chunk ends: at a multiple of the unit, unless it is the last.
pub fn chunk_end(from: u64, len_bytes: u64, chunk_bytes: u64) -> u64 {
    let end = (from + chunk_bytes.max(CHUNK_UNIT)) / CHUNK_UNIT * CHUNK_UNIT;
    end.max(from + 1).min(len_bytes)
}

/// What a ticket holds. A secret.
pub struct Begun {
    /// Whoever has this address may write the video.
    pub session: Url,
    /// No video of the attempt is older.
    pub began: Timestamp,
    /// Of the bytes that it was begun for. Others are not to come behind them.
    pub len_bytes: u64,
    sha256: [u8; 32],
}

/// The same as text.
#[derive(Serialize, Deserialize)]
struct Written {
    session: String,
    /// In microseconds since 1970.
    began: i64,
    len_bytes: u64,
    sha256: [u8; 32],
}

impl Begun {
    /// The address that Google gave; it gets our token, so it has to be one of Google's, or of whoever stands in.
    pub fn new(session: &str, api: &Url, now: Timestamp, upload: &Upload) -> Result<Self, String> {
        let session = Url::parse(session).map_err(|error| error.to_string())?;
        let is_known = session.host_str() == api.host_str()
            || session
                .host_str()
                .is_some_and(|host| host.ends_with(".googleapis.com") || host.ends_with(".youtube.com"));
        if session.scheme() != api.scheme() || !is_known {
            return Err("it is not on a server of YouTube's".into());
        }
        Ok(Self { session, began: now, len_bytes: upload.len_bytes, sha256: upload.sha256 })
    }

    /// Whether it was begun for just these bytes.
    pub fn is_for(&self, upload: &Upload) -> bool {
        (self.len_bytes, self.sha256) == (upload.len_bytes, upload.sha256)
    }

    pub fn of(ticket: &UploadTicket) -> Result<Self, UploadError> {
        // What cannot be read is not repeated: it may be a secret all the same.
        let unknown = || UploadError::TicketGone { why: "its ticket is not one of this kind of destination".into() };
        let Written { session, began, len_bytes, sha256 } =
            serde_json::from_str(ticket.expose()).map_err(|_| unknown())?;
        let session = Url::parse(&session).map_err(|_| unknown())?;
        Ok(Self { session, began: Timestamp::from_micros(began), len_bytes, sha256 })
    }

    pub fn ticket(&self) -> Result<UploadTicket, UploadError> {
        let Self { session, began, len_bytes, sha256 } = self;
        let (len_bytes, sha256) = (*len_bytes, *sha256);
        let written = Written { session: session.to_string(), began: began.micros(), len_bytes, sha256 };
        let text = serde_json::to_string(&written).unwrap_or_default();
        UploadTicket::new(&text).map_err(|error| UploadError::TicketGone { why: error.to_string() })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::upload::VideoMetadata;

    #[test]
    fn answers_say_how_far_it_is() {
        let of = |status, range, body: &str| standing(StatusCode::from_u16(status).unwrap(), range, body.as_bytes());
        assert_eq!(of(308, None, ""), Some(Standing::At(0)));
        assert_eq!(of(308, Some("bytes=0-524287"), ""), Some(Standing::At(524_288)));
        assert_eq!(of(308, Some("0-0"), ""), Some(Standing::At(1)));
        assert_eq!(of(201, None, "{\"id\": \"v_1-\"}"), Some(Standing::Whole("v_1-".into())));
        assert_eq!(of(404, None, ""), Some(Standing::Gone));
        for (status, range, body) in [
            (308, Some("bytes=5-9"), ""),
            (308, Some("bytes=0-"), ""),
            (200, None, ""),
            (200, None, "{\"id\": \"../\"}"),
            (500, None, ""),
        ] {
            assert_eq!(of(status, range, body), None, "{status} {range:?} {body}");
        }
    }

    #[test]
    fn a_session_elsewhere_gets_no_token() {
        let api: Url = "https://www.googleapis.com".parse().unwrap();
        let upload = Upload {
            key: "e.1".parse().unwrap(),
            metadata: VideoMetadata { title: "t".into(), description: "d".into(), tags: vec![], is_public: true },
            file: "v".into(),
            len_bytes: 9,
            sha256: [1; 32],
            content_type: "video/mp4".into(),
            thumbnail: None,
            sidecar: serde_json::Value::Null,
        };
        let begun = |session| Begun::new(session, &api, Timestamp::from_micros(7), &upload);
        assert!(begun("https://www.googleapis.com/upload?upload_id=x").is_ok());
        assert!(begun("https://upload.googleapis.com/x").is_ok());
        for bad in ["http://www.googleapis.com/x", "https://evil.example/x", "https://evilgoogleapis.com/", "/x", ""] {
            assert!(begun(bad).is_err(), "{bad}");
        }
        let ticket = begun("https://www.googleapis.com/upload?upload_id=x").unwrap().ticket().unwrap();
        let read = Begun::of(&ticket).unwrap();
        assert_eq!((read.began.micros(), read.is_for(&upload)), (7, true));
        assert!(!read.is_for(&Upload { sha256: [2; 32], ..upload }));
    }

    proptest! {
        #[test]
        fn chunks_go_on_and_end(from in 0u64..1 << 40, more in 1u64..1 << 40, chunk in 0u64..1 << 32) {
            let (len, end) = (from + more, chunk_end(from, from + more, chunk));
            prop_assert!(end > from && end <= len);
            prop_assert!(end == len || end.is_multiple_of(CHUNK_UNIT));
            prop_assert!(end - from <= chunk.max(CHUNK_UNIT));
        }
    }
}
