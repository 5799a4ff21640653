//! Where every error gets its status. The client is told a short text and a stable code; the log gets the causes.

use actix_web::http::{StatusCode, header};
use actix_web::{HttpResponse, ResponseError};
use serde_json::json;

use crate::actors::{CacheError, FeedError, LiveError};
use crate::auth::Denied;
use crate::blocking::Panicked;
use crate::causes::chain;
use crate::cut::{CutError, PlanError};
use crate::db::DbError;
use crate::edits::BadPatch;
use crate::health::NotReady;
use crate::model::{BadName, BadRange, BadTime, EmptySpan, EventState, Refusal};
use crate::profile::ProfileError;
use crate::store::{CoverageError, DigestsError, HideError, StoreError};

/// Why a request is not answered as asked.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    #[error("no such address; see the HTTP section of the README")]
    NoRoute,
    #[error("this address takes another method; see the HTTP section of the README")]
    Method { allowed: &'static str },
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
    #[error("the directory holds more files than can be listed")]
    TooManyFiles,
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
    #[error(transparent)]
    Hide(#[from] HideError),
    /// Of a range that is to be hidden.
    #[error("what lies in the range is not what was shown any more; look at it again")]
    NotAsShown,
    #[error("the disk cannot be read")]
    Digests(#[from] DigestsError),
    #[error("too little of the disk is free (retention.min_free); what is left is for recording")]
    NoRoom,
    #[error("work on the disk failed")]
    Panicked(#[from] Panicked),
    #[error(transparent)]
    Denied(#[from] Denied),
    #[error("pages of this origin may not write here; see auth.origins")]
    ForeignOrigin,
    #[error("this machine is not called that; see auth.origins")]
    ForeignHost,
    #[error("the database does not answer")]
    Db(#[from] DbError),
    #[error(transparent)]
    Patch(#[from] BadPatch),
    #[error("fields are missing: {}", .0.join(", "))]
    MissingFields(Vec<&'static str>),
    #[error("there is another one of this name")]
    Taken,
    /// Of the event, as asked of it.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The event is not of the version that the caller knows.
    #[error("the event is of version {version} by now; since then: {}", since.join("; "))]
    Stale { version: i64, since: Vec<String> },
    /// An editor is too late.
    #[error("the video is {0} already")]
    Published(EventState),
    #[error("there are too many listeners already")]
    TooManyListeners,
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
    #[error("who looks into the process must ask on this machine itself, or as http.debug says")]
    DebugClosed,
    #[error("the process cannot be looked into")]
    Profile(#[from] ProfileError),
}

impl From<CacheError> for HttpError {
    fn from(error: CacheError) -> Self {
        match error {
            CacheError::Store(error) => Self::Store(error),
            CacheError::Panicked(error) => Self::Panicked(error),
        }
    }
}

impl From<CoverageError> for HttpError {
    fn from(error: CoverageError) -> Self {
        match error {
            CoverageError::Store(error) => Self::Store(error),
            CoverageError::Panicked(error) => Self::Panicked(error),
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
            Self::Method { .. } => (S::METHOD_NOT_ALLOWED, "method", true),
            Self::Name { .. } => (S::FORBIDDEN, "bad_name", true),
            Self::Time { .. } => (S::BAD_REQUEST, "bad_time", true),
            Self::Parameter { .. } => (S::BAD_REQUEST, "bad_parameter", true),
            Self::EmptySpan(_) => (S::BAD_REQUEST, "end_before_start", true),
            Self::ImplicitRangeTooLong => (S::BAD_REQUEST, "range_too_long", true),
            Self::TooManyFiles => (S::UNPROCESSABLE_ENTITY, "too_many_files", true),
            Self::Absent(_) => (S::NOT_FOUND, "absent", true),
            Self::Tombstoned => (S::GONE, "tombstoned", true),
            Self::RangeOutside { .. } => (S::RANGE_NOT_SATISFIABLE, "range_outside", true),
            Self::NoContent => (S::NOT_ACCEPTABLE, "no_content", true),
            Self::Cut(error) => cut_answer(error),
            Self::Store(_) => (S::INTERNAL_SERVER_ERROR, "store", false),
            Self::Hide(HideError::NotInForce { .. } | HideError::NoReason(_)) => {
                (S::INTERNAL_SERVER_ERROR, "store", false)
            }
            Self::NotAsShown => (S::CONFLICT, "changed", true),
            Self::NoRoom => (S::INSUFFICIENT_STORAGE, "no_room", true),
            Self::Digests(DigestsError::Store(_)) => (S::INTERNAL_SERVER_ERROR, "store", false),
            Self::Digests(DigestsError::Panicked(_)) | Self::Panicked(_) => {
                (S::INTERNAL_SERVER_ERROR, "internal", false)
            }
            Self::Denied(Denied::NoToken) => (S::UNAUTHORIZED, "no_token", true),
            Self::Denied(Denied::BadToken | Denied::UnknownKey) => (S::UNAUTHORIZED, "bad_token", true),
            Self::Denied(Denied::Unfit(_)) => (S::UNAUTHORIZED, "unfit_token", true),
            Self::Denied(Denied::NoKeys) => (S::SERVICE_UNAVAILABLE, "issuer", true),
            Self::Denied(Denied::RolesUnknown) => (S::SERVICE_UNAVAILABLE, "database", true),
            Self::Denied(Denied::TooLow(_)) => (S::FORBIDDEN, "role", true),
            Self::Denied(Denied::TooMany(_)) => (S::TOO_MANY_REQUESTS, "too_many_failures", true),
            Self::ForeignOrigin => (S::FORBIDDEN, "foreign_origin", true),
            Self::ForeignHost => (S::FORBIDDEN, "foreign_host", true),
            Self::Db(DbError::Unreadable { .. }) => (S::INTERNAL_SERVER_ERROR, "unreadable", true),
            Self::Db(DbError::Panicked(_)) => (S::INTERNAL_SERVER_ERROR, "internal", false),
            // Until somebody mends it, or the schema is there: in either case it may work later.
            Self::Db(DbError::Unavailable(_) | DbError::Busy { .. } | DbError::Migration(_) | DbError::Broken(_)) => {
                (S::SERVICE_UNAVAILABLE, "database", false)
            }
            Self::Patch(_) => (S::BAD_REQUEST, "bad_field", true),
            Self::MissingFields(_) => (S::BAD_REQUEST, "missing_fields", true),
            Self::Taken => (S::CONFLICT, "taken", true),
            Self::Refused(Refusal::Illegal(_) | Refusal::NotClaimed(_) | Refusal::NotFailed(_)) => {
                (S::CONFLICT, "state", true)
            }
            Self::Refused(Refusal::Changed(_)) => (S::CONFLICT, "changed", true),
            Self::Stale { .. } => (S::CONFLICT, "changed", true),
            Self::Refused(Refusal::Missing(_)) => (S::BAD_REQUEST, "missing_fields", true),
            Self::Refused(Refusal::Field { .. }) => (S::BAD_REQUEST, "bad_field", true),
            Self::Published(_) => (S::FORBIDDEN, "published", true),
            Self::TooManyListeners => (S::SERVICE_UNAVAILABLE, "too_many_listeners", true),
            Self::Restarting => (S::SERVICE_UNAVAILABLE, "restarting", true),
            Self::TooSlow => (S::SERVICE_UNAVAILABLE, "too_slow", true),
            Self::Feed(FeedError::TooMany) => (S::SERVICE_UNAVAILABLE, "busy", true),
            Self::Feed(FeedError::Stopping) => (S::SERVICE_UNAVAILABLE, "stopping", true),
            Self::NotReady(_) => (S::SERVICE_UNAVAILABLE, "not_ready", true),
            Self::NotAlive(_) => (S::SERVICE_UNAVAILABLE, "not_alive", true),
            Self::DebugClosed => (S::FORBIDDEN, "debug_closed", true),
            Self::Profile(ProfileError::UnderWay) => (S::CONFLICT, "profile_under_way", true),
            Self::Profile(ProfileError::Stopping) => (S::SERVICE_UNAVAILABLE, "stopping", true),
            Self::Profile(ProfileError::Unable(_)) => (S::NOT_IMPLEMENTED, "no_profile", true),
            Self::Profile(ProfileError::Panicked(_)) => (S::INTERNAL_SERVER_ERROR, "internal", false),
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
        CutError::Plan(PlanError::Changes { .. }) => (S::NOT_ACCEPTABLE, "encoding_changes", true),
        CutError::Plan(PlanError::NoContent(_)) | CutError::NoFrames => (S::NOT_ACCEPTABLE, "no_content", true),
        CutError::MixedContainers { .. } => (S::BAD_REQUEST, "mixed_containers", true),
        CutError::NotFragmented { .. } | CutError::NoStamps { .. } => (S::UNPROCESSABLE_ENTITY, "unreadable", true),
        CutError::Unlike { .. } => (S::UNPROCESSABLE_ENTITY, "unlike", true),
        CutError::Unblendable { .. } => (S::UNPROCESSABLE_ENTITY, "unblendable", true),
        CutError::Codec { .. } | CutError::Uncarried { .. } => (S::UNPROCESSABLE_ENTITY, "codec", true),
        CutError::Inexact { .. } | CutError::Check { .. } => (S::UNPROCESSABLE_ENTITY, "inexact", true),
        CutError::Tombstoned { .. } => (S::GONE, "tombstoned", true),
        CutError::Vanished { .. } | CutError::Changed { .. } => (S::CONFLICT, "changed", true),
        CutError::Busy { .. } => (S::SERVICE_UNAVAILABLE, "busy", true),
        CutError::FfmpegMissing { .. } => (S::INTERNAL_SERVER_ERROR, "ffmpeg_missing", true),
        CutError::FfmpegFailed { .. } | CutError::FfmpegStalled { .. } | CutError::FfmpegPipe { .. } => {
            (S::INTERNAL_SERVER_ERROR, "ffmpeg", true)
        }
        CutError::Framing(_) => (S::BAD_REQUEST, "bad_framing", true),
        CutError::PictureTooLarge { .. } => (S::UNPROCESSABLE_ENTITY, "picture_too_large", true),
        CutError::NoRoom => (S::INSUFFICIENT_STORAGE, "no_room", true),
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
        if let Self::Denied(Denied::TooMany(wait)) = self {
            response.insert_header((header::RETRY_AFTER, wait.as_secs().max(1).to_string()));
        }
        if status == StatusCode::UNAUTHORIZED {
            response.insert_header((header::WWW_AUTHENTICATE, "Bearer"));
        }
        if let Self::Method { allowed } = self {
            response.insert_header((header::ALLOW, *allowed));
        }
        if let Self::RangeOutside { len_bytes } = self {
            response.insert_header((header::CONTENT_RANGE, format!("bytes */{len_bytes}")));
        }
        response.json(json!({ "code": code, "message": message }))
    }
}

/// The same for editors of the existing system, which show the text as it comes: no JSON.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct EditorError(HttpError);

impl<E: Into<HttpError>> From<E> for EditorError {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl ResponseError for EditorError {
    fn status_code(&self) -> StatusCode {
        self.0.status_code()
    }

    fn error_response(&self) -> HttpResponse {
        let (_, _, tells_causes) = self.0.answer();
        let text = if tells_causes { chain(&self.0) } else { self.0.to_string() };
        let mut response = self.0.error_response().set_body(text);
        response
            .headers_mut()
            .insert(header::CONTENT_TYPE, header::HeaderValue::from_static("text/plain; charset=utf-8"));
        response.map_into_boxed_body()
    }
}
