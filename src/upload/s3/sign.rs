//! Signatures of requests to S3: AWS Signature Version 4, in the `Authorization` header.
//!
//! Promises: what is signed is what is sent; no secret is in what Debug shows.
//! Source: "Signature Calculations for the Authorization Header", Amazon S3 API Reference; the tests are its examples.

use std::fmt::Write as _;

use hmac::{Hmac, KeyInit, Mac};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use sha2::{Digest, Sha256};

use crate::config::Secret;
use crate::model::Timestamp;

/// What RFC 3986 calls unreserved is left as it is; nothing else is, in S3.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
const RESERVED_IN_PATHS: &AsciiSet = &RESERVED.remove(b'/');

/// Whose requests they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    pub access_key_id: Box<str>,
    pub secret_access_key: Secret,
    /// Of credentials that expire.
    pub session_token: Option<Secret>,
}

/// What is signed of a request.
#[derive(Debug)]
pub struct Request<'a> {
    pub method: &'a str,
    /// As [`encoded_path`] made it.
    pub path: &'a str,
    /// As [`encoded_query`] made it.
    pub query: &'a str,
    /// Lower-case names, in order, with `host` and all of `x-amz-…`.
    pub headers: &'a [(&'a str, String)],
    /// As [`hex`] writes it.
    pub payload_sha256: &'a str,
    pub region: &'a str,
    pub at: Timestamp,
}

/// A path in the one form that can be signed.
pub fn encoded_path(path: &str) -> String {
    utf8_percent_encode(path, RESERVED_IN_PATHS).to_string()
}

/// A query in the one form that can be signed: in order, with `=` behind each name.
pub fn encoded_query(pairs: &[(&str, &str)]) -> String {
    let encode = |text| utf8_percent_encode(text, RESERVED).to_string();
    let mut pairs: Vec<_> = pairs.iter().map(|(name, value)| (encode(name), encode(value))).collect();
    pairs.sort();
    pairs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&")
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// `20130524T000000Z`, as the header `x-amz-date` has it.
pub fn amz_date(at: Timestamp) -> String {
    let text = at.to_string();
    // 2013-05-24T00:00:00.000000: the fraction goes, and the marks.
    let whole = text.split('.').next().unwrap_or(&text);
    whole.chars().filter(|one| !matches!(one, '-' | ':')).chain(['Z']).collect()
}

/// The value of the header `Authorization`.
pub fn authorization(request: &Request<'_>, credentials: &Credentials) -> String {
    let names = request.headers.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(";");
    let date_time = amz_date(request.at);
    let date = &date_time[..8];
    let scope = format!("{date}/{}/s3/aws4_request", request.region);
    let canonical = hex(&Sha256::digest(canonical(request, &names)));
    let to_sign = format!("AWS4-HMAC-SHA256\n{date_time}\n{scope}\n{canonical}");
    let secret = format!("AWS4{}", credentials.secret_access_key.expose());
    let key = [date, request.region, "s3", "aws4_request"]
        .iter()
        .fold(secret.into_bytes(), |key, part| keyed(&key, part.as_bytes()));
    let signature = hex(&keyed(&key, to_sign.as_bytes()));
    let id = &credentials.access_key_id;
    format!("AWS4-HMAC-SHA256 Credential={id}/{scope},SignedHeaders={names},Signature={signature}")
}

fn canonical(request: &Request<'_>, names: &str) -> String {
    let Request { method, path, query, payload_sha256, .. } = request;
    let headers = request.headers.iter().fold(String::new(), |mut text, (name, value)| {
        let _ = writeln!(text, "{name}:{}", value.trim());
        text
    });
    format!("{method}\n{path}\n{query}\n{headers}\n{names}\n{payload_sha256}")
}

fn keyed(key: &[u8], text: &[u8]) -> Vec<u8> {
    let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(key).expect("a key of HMAC may have any length");
    mac.update(text);
    mac.finalize().into_bytes().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    const HOST: &str = "examplebucket.s3.amazonaws.com";
    const DATE: &str = "20130524T000000Z";

    fn signature(method: &str, path: &str, query: &[(&str, &str)], headers: &[(&str, &str)], payload: &str) -> String {
        let mut all =
            vec![("host", HOST.into()), ("x-amz-content-sha256", payload.into()), ("x-amz-date", DATE.into())];
        all.extend(headers.iter().map(|(name, value)| (*name, (*value).to_owned())));
        all.sort();
        let credentials = Credentials {
            access_key_id: "AKIAIOSFODNN7EXAMPLE".into(),
            secret_access_key: Secret::new("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"),
            session_token: None,
        };
        let request = Request {
            method,
            path: &encoded_path(path),
            query: &encoded_query(query),
            headers: &all,
            payload_sha256: payload,
            region: "us-east-1",
            at: "2013-05-24T00:00:00".parse().unwrap(),
        };
        let authorization = authorization(&request, &credentials);
        assert!(authorization.starts_with(
            "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,SignedHeaders="
        ));
        authorization.rsplit("Signature=").next().unwrap().to_owned()
    }

    #[test]
    fn signatures_are_those_of_the_published_examples() {
        assert_eq!(
            signature("GET", "/test.txt", &[], &[("range", "bytes=0-9")], EMPTY),
            "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"
        );
        let headers = [("date", "Fri, 24 May 2013 00:00:00 GMT"), ("x-amz-storage-class", "REDUCED_REDUNDANCY")];
        let payload = hex(&Sha256::digest("Welcome to Amazon S3."));
        assert_eq!(
            signature("PUT", "/test$file.text", &[], &headers, &payload),
            "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"
        );
        assert_eq!(
            signature("GET", "/", &[("lifecycle", "")], &[], EMPTY),
            "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"
        );
        assert_eq!(
            signature("GET", "/", &[("prefix", "J"), ("max-keys", "2")], &[], EMPTY),
            "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"
        );
    }

    #[test]
    fn what_is_sent_has_one_form() {
        assert_eq!(encoded_path("/a b/ü+~_.txt"), "/a%20b/%C3%BC%2B~_.txt");
        assert_eq!(encoded_query(&[("uploadId", "a/b=&c"), ("partNumber", "7")]), "partNumber=7&uploadId=a%2Fb%3D%26c");
        assert_eq!(amz_date("2026-01-02T03:04:05.678".parse().unwrap()), "20260102T030405Z");
    }

    #[test]
    fn nothing_shows_a_secret() {
        let secret = Secret::new("hush");
        let credentials =
            Credentials { access_key_id: "id".into(), secret_access_key: secret.clone(), session_token: Some(secret) };
        assert!(!format!("{credentials:?}").contains("hush"));
    }
}
