//! What a refusal of YouTube's means for a job: whether to try again, and what a person must do otherwise.
//!
//! Source: "YouTube Data API - Errors", and the errors of videos.insert, videos.update and thumbnails.set.

use std::time::Duration;

use awc::http::StatusCode;
use serde::Deserialize;

use super::quota::{Cost, Quota};
use crate::model::Timestamp;
use crate::upload::UploadError;

/// Why Google refuses.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Refusal {
    /// Such as `quotaExceeded`; empty where it is not said.
    pub reason: String,
    pub message: String,
}

impl Refusal {
    /// Out of an answer's body, whatever that is.
    pub fn parse(body: &[u8]) -> Self {
        #[derive(Deserialize)]
        struct Answer {
            error: Told,
        }
        #[derive(Deserialize)]
        struct Told {
            #[serde(default)]
            message: String,
            #[serde(default)]
            errors: Vec<Reason>,
        }
        #[derive(Deserialize)]
        struct Reason {
            #[serde(default)]
            reason: String,
        }
        let Ok(Answer { error }) = serde_json::from_slice(body) else { return Self::default() };
        let reason = error.errors.into_iter().next().map(|first| first.reason).unwrap_or_default();
        Self { reason, message: error.message.chars().filter(|one| !one.is_control()).take(300).collect() }
    }
}

/// What was being done, and what it costs.
#[derive(Debug, Clone, Copy)]
pub struct Act {
    pub text: &'static str,
    pub cost: Option<Cost>,
}

pub fn error(
    act: Act,
    status: StatusCode,
    refusal: &Refusal,
    retry_after: Option<Duration>,
    quota: &Quota,
    now: Timestamp,
) -> UploadError {
    let said = match (&*refusal.reason, &*refusal.message) {
        ("", "") => status.to_string(),
        ("", message) => format!("{status} ({message})"),
        (reason, message) => format!("{reason} ({message})"),
    };
    let why = format!("{}: YouTube says {said}", act.text);
    let remedy = match (&*refusal.reason, status.as_u16()) {
        // Until its midnight, nothing but waiting helps.
        ("quotaExceeded" | "dailyLimitExceeded" | "dailyLimitExceededUnreg", _) => {
            let left = act.cost.map(|cost| quota.is_out(cost, now));
            return UploadError::Busy { why: format!("{why}: the day's quota is spent"), retry_after: left };
        }
        ("rateLimitExceeded" | "userRateLimitExceeded" | "uploadRateLimitExceeded" | "backendError", _) => {
            return UploadError::Busy { why, retry_after };
        }
        ("uploadLimitExceeded", _) => {
            "the channel may not upload more for now: verify it at youtube.com/verify, or submit the event again in 24 hours"
        }
        ("invalidTitle" | "invalidVideoTitle", _) => "correct the title: up to 100 characters, without < and >",
        ("invalidDescription" | "invalidVideoDescription", _) => {
            "correct the description: up to 5000 bytes, without < and >"
        }
        ("invalidTags" | "invalidVideoKeywords", _) => {
            "correct the tags: up to 500 characters together, without < and >"
        }
        ("invalidCategoryId", _) => "correct the key category of the location",
        ("invalidVideoMetadata" | "invalidMetadata" | "mediaBodyRequired" | "invalidFilename", _) => {
            "correct title, description and tags"
        }
        ("invalidImage" | "mediaBodyTooLarge" | "imageFormatUnsupported", _) => {
            "choose another thumbnail: up to 2 MB, as PNG"
        }
        ("youtubeSignupRequired" | "channelNotFound", _) => {
            "make a channel for the account, or make the token anew with the channel's account"
        }
        (
            "accountClosed"
            | "accountSuspended"
            | "channelClosed"
            | "channelSuspended"
            | "authenticatedUserAccountClosed"
            | "authenticatedUserAccountSuspended",
            _,
        ) => "the account is closed or suspended: its owner has to ask YouTube",
        ("accessNotConfigured", _) => "switch the YouTube Data API v3 on for the project at console.cloud.google.com",
        ("insufficientPermissions", _) => {
            "make the refresh token anew, with the scope https://www.googleapis.com/auth/youtube"
        }
        ("videoNotFound", _) => "the video is not there any more; reset the event, or link another video by hand",
        // Of a token that was given for this: a refresh token that is bad gets none. Google takes the next one, as a rule.
        (_, 401) => {
            let why = format!(
                "{why} of a token that was just given; if it stays so, make the refresh token anew and put it into credentials_file"
            );
            return UploadError::Busy { why, retry_after };
        }
        (_, 408 | 425 | 429 | 500..=599) => return UploadError::Busy { why, retry_after },
        (_, 403) => "look whether the account may upload to the channel, and set thumbnails",
        _ => "look at what the event says, and at the location in the configuration",
    };
    UploadError::Refused { why, remedy }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(status: u16, reason: &str) -> UploadError {
        let refusal = Refusal { reason: reason.into(), message: "because".into() };
        let act = Act { text: "beginning the upload", cost: Some(Cost::Insert) };
        let now = "2026-01-02T20:00:00".parse().unwrap();
        error(act, StatusCode::from_u16(status).unwrap(), &refusal, None, &Quota::new(1, 1), now)
    }

    #[test]
    fn each_refusal_says_what_to_do() {
        for (status, reason, remedy) in [
            (400, "uploadLimitExceeded", "24 hours"),
            (400, "invalidTitle", "title"),
            (400, "invalidTags", "tags"),
            (403, "insufficientPermissions", "scope"),
            (403, "accessNotConfigured", "console.cloud.google.com"),
            (401, "youtubeSignupRequired", "channel"),
            (403, "forbidden", "may upload"),
            (400, "", "configuration"),
        ] {
            let error = of(status, reason);
            assert!(!error.is_retryable() && error.to_string().contains(remedy), "{status} {reason}: {error}");
        }
        assert!(of(401, "authError").to_string().contains("credentials_file"), "what to do if it does not pass");
        let passing = [
            (500, ""),
            (503, "backendError"),
            (429, ""),
            (403, "userRateLimitExceeded"),
            (401, "authError"),
            (401, ""),
        ];
        for (status, reason) in passing {
            assert!(matches!(of(status, reason), UploadError::Busy { retry_after: None, .. }), "{status} {reason}");
        }
        assert_eq!(of(403, "quotaExceeded").retry_after(), Some(Duration::from_secs(12 * 3600)));
    }

    #[test]
    fn a_body_of_any_kind_is_read() {
        let body = br#"{"error": {"code": 403, "message": "Too\nmuch", "errors": [{"domain": "d", "reason": "quotaExceeded"}]}}"#;
        assert_eq!(Refusal::parse(body), Refusal { reason: "quotaExceeded".into(), message: "Toomuch".into() });
        for body in [&b""[..], b"<html>", b"{}", b"{\"error\": \"invalid_grant\"}", b"\xff"] {
            assert_eq!(Refusal::parse(body), Refusal::default());
        }
    }
}
