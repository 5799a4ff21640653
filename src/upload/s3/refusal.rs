//! What a store's refusal means for a job: whether to try again, and what a person must do otherwise.
//!
//! Source: "Error responses", Amazon S3 API Reference; other stores use the same codes.

use std::time::Duration;

use awc::http::StatusCode;

use super::answers::Refusal;
use crate::upload::UploadError;

/// `refusal` is missing where the answer did not say why.
pub fn error(
    act: &'static str,
    status: StatusCode,
    refusal: Option<&Refusal>,
    retry_after: Option<Duration>,
) -> UploadError {
    let code = refusal.map_or("", |refusal| &*refusal.code);
    let why = match refusal {
        Some(Refusal { code, message }) => format!("{act}: the store says {code} ({message})"),
        None => format!("{act}: the store answers {status}"),
    };
    match code {
        "NoSuchUpload" => return UploadError::TicketGone { why },
        "BadDigest"
        | "InvalidDigest"
        | "XAmzContentSHA256Mismatch"
        | "XAmzContentChecksumMismatch"
        | "IncompleteBody"
        | "InvalidPart"
        | "EntityTooSmall" => return UploadError::WrongBytes { why },
        "RequestTimeout"
        | "SlowDown"
        | "InternalError"
        | "ServiceUnavailable"
        | "OperationAborted"
        | "ConditionalRequestConflict" => return UploadError::Busy { why, retry_after },
        _ => {}
    }
    let remedy = match (code, status.as_u16()) {
        // The code, where there is one, knows better than the status.
        ("NoSuchBucket", _) => "correct bucket and endpoint, or make the bucket",
        ("RequestTimeTooSkewed", _) => "set this machine's clock",
        ("ExpiredToken" | "TokenRefreshRequired" | "InvalidToken", _) => "put new credentials into credentials_file",
        ("InvalidAccessKeyId" | "SignatureDoesNotMatch", _) => {
            "correct the keys in credentials_file, and the region if they are right"
        }
        ("AuthorizationHeaderMalformed" | "PermanentRedirect" | "TemporaryRedirect", _) | (_, 301 | 307 | 308) => {
            "correct region and endpoint: the bucket is elsewhere"
        }
        ("QuotaExceeded" | "EntityTooLarge", _) | (_, 507) => "make room in the store, or have its quota raised",
        ("NotImplemented", _) | (_, 501) => "this store lacks something that uploads in parts need",
        // A store always says why; this comes from what stands between, such as where a connection broke amid a request.
        ("", 400) => return UploadError::Busy { why, retry_after },
        (_, 500..=599 | 408 | 425 | 429) => return UploadError::Busy { why, retry_after },
        (_, 404) => return UploadError::TicketGone { why },
        (_, 401 | 403) => {
            "let the key read, write and delete objects, list the bucket and its uploads in parts, and give them up"
        }
        (_, 412) => "look what lies at the name of the video in the bucket",
        _ => "look into the store's log, and correct the location in the configuration",
    };
    UploadError::Refused { why, remedy }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_says_what_to_do() {
        let of = |status, code: &str| {
            let refusal = (!code.is_empty()).then(|| Refusal { code: code.into(), message: "m".into() });
            error("asking", StatusCode::from_u16(status).unwrap(), refusal.as_ref(), None)
        };
        let passing =
            [(503, "SlowDown"), (500, ""), (429, ""), (400, ""), (400, "RequestTimeout"), (200, "InternalError")];
        for (status, code) in passing {
            assert!(matches!(of(status, code), UploadError::Busy { .. }), "{status} {code}");
        }
        for (status, code, remedy) in [
            (404, "NoSuchBucket", "bucket"),
            (403, "RequestTimeTooSkewed", "clock"),
            (403, "SignatureDoesNotMatch", "credentials_file"),
            (403, "", "list the bucket"),
            (301, "", "elsewhere"),
            (400, "MalformedXML", "log"),
        ] {
            let error = of(status, code);
            assert!(matches!(error, UploadError::Refused { .. }) && error.to_string().contains(remedy), "{error}");
        }
        assert!(matches!(of(404, "NoSuchUpload"), UploadError::TicketGone { .. }));
        assert!(matches!(of(400, "BadDigest"), UploadError::WrongBytes { .. }));
    }
}
