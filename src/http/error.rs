//! Where every error gets its status. The client is told a short text and a stable code; the log gets the causes.

use actix_web::http::{StatusCode, header};
use actix_web::{HttpResponse, ResponseError};
use serde_json::json;

use crate::actors::{CacheError, FeedError, LiveError};
use crate::blocking::Panicked;
use crate::causes::chain;
use crate::cut::{CutError, PlanError};
use crate::health::NotReady;
use crate::model::{BadName, BadRange, BadTime, EmptySpan};
use crate::store::{DigestsError, StoreError};

/// Why a request is not answered as asked.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    #[error("no such address; see the HTTP section of the README")]
    NoRoute,
    #[error("this address takes another method; see the HTTP section of the README")]
    Method,
    #[error("bad {what}: {why}")]
    Name { what: &'static str, why: BadName },
    #[error("bad {parameter}: {why}")]
    Time { parameter: &'static str, why: BadTime },
    #[error("bad {parameter}: {why}")]
    Parameter { parameter: &'static str, why: String },
    #[error(transparent)]
    EmptySpan(#[from] EmptySpan),
    #[error("a range without start or end may not be longer than 12 hours; give both")]
    ImplicitRangeTooLong,
    #[error("no such {0}")]
    Absent(&'static str),
    #[error("the segment was deleted by a tombstone")]
    Tombstoned,
    #[error("the byte range lies outside of the file's {len_bytes} bytes")]
    RangeOutside { len_bytes: u64 },
    #[error("there is no content in the requested range")]
    NoContent,
    #[error("the cut cannot be made")]
    Cut(#[from] CutError),
    #[error("the disk cannot be read")]
    Store(#[from] StoreError),
    #[error("the disk cannot be read")]
    Digests(#[from] DigestsError),
    #[error("too little of the disk is free (retention.min_free); what is left is for recording")]
    NoRoom,
    #[error("work on the disk failed")]
    Panicked(#[from] Panicked),
    #[error("a part of the node is being restarted; try again in a second")]
    Restarting,
    #[error("the answer took too long to begin; the disk may be stuck")]
    TooSlow,
    #[error("nobody more can follow")]
    Feed(#[from] FeedError),
    #[error("{}", .0.as_str())]
    NotReady(NotReady),
    #[error("parts of the node do not answer: {0}")]
    NotAlive(String),
}

impl From<CacheError> for HttpError {
    fn from(error: CacheError) -> Self {
        match error {
            CacheError::Store(error) => Self::Store(error),
            CacheError::Panicked(error) => Self::Panicked(error),
        }
    }
}

impl From<LiveError> for HttpError {
    fn from(error: LiveError) -> Self {
        match error {
            LiveError::Cache(error) => error.into(),
            LiveError::Restarting => Self::Restarting,
            LiveError::TooFarAhead { .. } => Self::Parameter { parameter: "_HLS_msn", why: error.to_string() },
        }
    }
}

impl From<PlanError> for HttpError {
    fn from(error: PlanError) -> Self {
        Self::Cut(error.into())
    }
}

impl HttpError {
    pub fn of_range(parameter: &'static str, why: BadRange) -> Self {
        match why {
            BadRange::Time(why) => Self::Time { parameter, why },
            BadRange::Empty(error) => Self::EmptySpan(error),
            BadRange::Form | BadRange::Duration { .. } => Self::Parameter { parameter, why: why.to_string() },
        }
    }

    /// Status, code, and whether the causes are for the client too.
    fn answer(&self) -> (StatusCode, &'static str, bool) {
        use StatusCode as S;
        match self {
            Self::NoRoute => (S::NOT_FOUND, "no_route", true),
            Self::Method => (S::METHOD_NOT_ALLOWED, "method", true),
            Self::Name { .. } => (S::FORBIDDEN, "bad_name", true),
            Self::Time { .. } => (S::BAD_REQUEST, "bad_time", true),
            Self::Parameter { .. } => (S::BAD_REQUEST, "bad_parameter", true),
            Self::EmptySpan(_) => (S::BAD_REQUEST, "end_before_start", true),
            Self::ImplicitRangeTooLong => (S::BAD_REQUEST, "range_too_long", true),
            Self::Absent(_) => (S::NOT_FOUND, "absent", true),
            Self::Tombstoned => (S::GONE, "tombstoned", true),
            Self::RangeOutside { .. } => (S::RANGE_NOT_SATISFIABLE, "range_outside", true),
            Self::NoContent => (S::NOT_ACCEPTABLE, "no_content", true),
            Self::Cut(error) => cut_answer(error),
            Self::Store(_) => (S::INTERNAL_SERVER_ERROR, "store", false),
            Self::NoRoom => (S::INSUFFICIENT_STORAGE, "no_room", true),
            Self::Digests(DigestsError::Store(_)) => (S::INTERNAL_SERVER_ERROR, "store", false),
            Self::Digests(DigestsError::Panicked(_)) | Self::Panicked(_) => {
                (S::INTERNAL_SERVER_ERROR, "internal", false)
            }
            Self::Restarting => (S::SERVICE_UNAVAILABLE, "restarting", true),
            Self::TooSlow => (S::SERVICE_UNAVAILABLE, "too_slow", true),
            Self::Feed(FeedError::TooMany) => (S::SERVICE_UNAVAILABLE, "busy", true),
            Self::Feed(FeedError::Stopping) => (S::SERVICE_UNAVAILABLE, "stopping", true),
            Self::NotReady(_) => (S::SERVICE_UNAVAILABLE, "not_ready", true),
            Self::NotAlive(_) => (S::SERVICE_UNAVAILABLE, "not_alive", true),
        }
    }
}

fn cut_answer(error: &CutError) -> (StatusCode, &'static str, bool) {
    use StatusCode as S;
    match error {
        CutError::Plan(PlanError::NoRanges) => (S::BAD_REQUEST, "no_ranges", true),
        CutError::Plan(PlanError::NoBlends(_)) => (S::BAD_REQUEST, "no_transitions", true),
        CutError::Plan(PlanError::NotOneRange) => (S::BAD_REQUEST, "not_one_range", true),
        CutError::Plan(PlanError::Holes(_)) => (S::NOT_ACCEPTABLE, "holes", true),
        CutError::Plan(PlanError::NoContent(_)) | CutError::NoFrames => (S::NOT_ACCEPTABLE, "no_content", true),
        CutError::MixedContainers { .. } => (S::BAD_REQUEST, "mixed_containers", true),
        CutError::NotFragmented { .. } | CutError::NoStamps { .. } => (S::UNPROCESSABLE_ENTITY, "unreadable", true),
        CutError::Unblendable { .. } => (S::UNPROCESSABLE_ENTITY, "unblendable", true),
        CutError::Codec { .. } => (S::UNPROCESSABLE_ENTITY, "codec", true),
        CutError::Inexact { .. } => (S::UNPROCESSABLE_ENTITY, "inexact", true),
        CutError::Tombstoned { .. } => (S::GONE, "tombstoned", true),
        CutError::Vanished { .. } | CutError::Changed { .. } => (S::CONFLICT, "changed", true),
        CutError::Busy { .. } => (S::SERVICE_UNAVAILABLE, "busy", true),
        CutError::FfmpegMissing { .. } => (S::INTERNAL_SERVER_ERROR, "ffmpeg_missing", true),
        CutError::FfmpegFailed { .. } | CutError::FfmpegStalled { .. } | CutError::FfmpegPipe { .. } => {
            (S::INTERNAL_SERVER_ERROR, "ffmpeg", true)
        }
        CutError::Framing(_) => (S::BAD_REQUEST, "bad_framing", true),
        CutError::PictureTooLarge { .. } => (S::UNPROCESSABLE_ENTITY, "picture_too_large", true),
        CutError::Read { .. } | CutError::Store(_) => (S::INTERNAL_SERVER_ERROR, "store", false),
        CutError::Panicked(_) => (S::INTERNAL_SERVER_ERROR, "internal", false),
    }
}

impl ResponseError for HttpError {
    fn status_code(&self) -> StatusCode {
        self.answer().0
    }

    fn error_response(&self) -> HttpResponse {
        let (status, code, tells_causes) = self.answer();
        let message = if tells_causes { chain(self) } else { self.to_string() };
        let mut response = HttpResponse::build(status);
        response.insert_header((header::CACHE_CONTROL, "no-store"));
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response.insert_header((header::RETRY_AFTER, "1"));
        }
        if let Self::RangeOutside { len_bytes } = self {
            response.insert_header((header::CONTENT_RANGE, format!("bytes */{len_bytes}")));
        }
        response.json(json!({ "code": code, "message": message }))
    }
}
