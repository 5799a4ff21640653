//! The requests that an S3 store understands, one method each.
//!
//! Promises: each is signed, and has deadlines; an answer is read into a type, or is an error that says what its job can do.
//! Never: tries again.

use std::error::Error;

use awc::http::{Method, StatusCode, header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use sha2::{Digest, Sha256};
use tokio::time::Duration;
use url::Url;

use super::answers::{self, BadAnswer, ListedPart, Page};
use super::parts::Part;
use super::refusal;
use super::sign::{self, Credentials, amz_date, authorization, encoded_path, encoded_query, hex};
use crate::clock::Clock;
use crate::config::S3Config;
use crate::ingest::sending::{Cargo, Outgoing, Reply, SendError, Shipment};
use crate::ingest::{HttpClient, Patience};
use crate::upload::UploadError;
use crate::upload::freight::lost;

/// What is small is answered within this, or not at all.
const ASKED: Patience = patience(60, 120);
/// A part may be slow on a shared line, as long as it moves.
const PART: Patience = patience(120, 24 * 3600);
/// "Processing of a CompleteMultipartUpload request could take several minutes."
const COMPLETION: Patience = patience(300, 900);
/// A list of a thousand parts has a third of a MiB.
const MAX_ANSWER_BYTES: usize = 4 << 20;
/// Whose object it is; S3 gives metadata back with the object's head.
const META_KEY: &str = "x-amz-meta-segvault-key";
const META_SHA256: &str = "x-amz-meta-segvault-sha256";
const CHECKSUM: &str = "x-amz-checksum-sha256";

const fn patience(head_secs: u64, whole_secs: u64) -> Patience {
    Patience {
        head: Duration::from_secs(head_secs),
        stall: Duration::from_secs(60),
        whole: Duration::from_secs(whole_secs),
    }
}

/// A bucket, as whoever has the credentials sees it.
pub struct Bucket<'a> {
    pub config: &'a S3Config,
    pub http: &'a HttpClient,
    pub clock: &'a Clock,
    pub credentials: Credentials,
}

/// What is said of an object that is there.
#[derive(Debug, PartialEq, Eq)]
pub struct ObjectHead {
    pub len_bytes: Option<u64>,
    pub upload_key: Option<String>,
    /// In hex.
    pub sha256: Option<String>,
}

/// What became of the last step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Completed {
    Done,
    /// There is an object of that name.
    Taken,
    /// Some stores refuse what has a condition.
    Refused,
}

struct Asked<'a> {
    /// What is being done, as an error says it.
    act: &'static str,
    method: Method,
    /// `None` asks the bucket itself.
    object: Option<&'a str>,
    query: &'a [(&'a str, &'a str)],
    headers: Vec<(&'static str, String)>,
    cargo: Cargo,
    /// In hex.
    payload_sha256: String,
    patience: Patience,
}

impl<'a> Asked<'a> {
    fn new(act: &'static str, method: Method, object: Option<&'a str>, query: &'a [(&'a str, &'a str)]) -> Self {
        let payload_sha256 = hex(&Sha256::digest([]));
        Self { act, method, object, query, headers: Vec::new(), cargo: Cargo::Nothing, payload_sha256, patience: ASKED }
    }

    fn whole(mut self, body: Bytes) -> Self {
        self.payload_sha256 = hex(&Sha256::digest(&body));
        self.cargo = Cargo::Whole(body);
        self
    }
}

impl Bucket<'_> {
    /// Begins an upload in parts, and gives its id.
    pub async fn begin(
        &self,
        object: &str,
        content_type: &str,
        key: &str,
        sha256: [u8; 32],
    ) -> Result<Box<str>, UploadError> {
        let mut asked = Asked::new("beginning the upload", Method::POST, Some(object), &[("uploads", "")]);
        asked.headers = vec![
            ("content-type", content_type.to_owned()),
            (META_KEY, key.to_owned()),
            (META_SHA256, hex(&sha256)),
            ("x-amz-checksum-algorithm", "SHA256".to_owned()),
        ];
        self.body(asked, answers::upload_id).await
    }

    /// The ids of uploads of this object that are under way.
    pub async fn uploads_of(&self, object: &str) -> Result<Vec<Box<str>>, UploadError> {
        // The object's own uploads come first: its name is the shortest with this prefix.
        let query = [("uploads", ""), ("prefix", object)];
        let asked = Asked::new("asking for uploads under way", Method::GET, None, &query);
        self.body(asked, |body| answers::uploads_of(body, object)).await
    }

    /// All parts that are there.
    pub async fn parts(&self, object: &str, upload_id: &str) -> Result<Vec<ListedPart>, UploadError> {
        let mut all = Vec::new();
        let mut marker = Some(Box::from("0"));
        while let Some(from) = marker {
            let query = [("part-number-marker", &*from), ("uploadId", upload_id)];
            let asked = Asked::new("asking for what is there", Method::GET, Some(object), &query);
            let Page { items, next } = self.body(asked, answers::listed_parts).await?;
            // A page that leads nowhere would be asked for without end.
            marker = next.filter(|next| !items.is_empty() && *next != from);
            all.extend(items);
        }
        Ok(all)
    }

    /// Sends a part whose hash is known.
    pub async fn put_part(
        &self,
        object: &str,
        upload_id: &str,
        part: Part,
        sha256: [u8; 32],
        shipment: Shipment,
    ) -> Result<ListedPart, UploadError> {
        let number = part.number.to_string();
        let query = [("partNumber", &*number), ("uploadId", upload_id)];
        let mut asked = Asked::new("sending a part", Method::PUT, Some(object), &query);
        let checksum = STANDARD.encode(sha256);
        asked.headers = vec![(CHECKSUM, checksum.clone())];
        asked.payload_sha256 = hex(&sha256);
        asked.cargo = Cargo::Stream(shipment);
        asked.patience = PART;
        let reply = self.call(asked).await?;
        let etag = reply.header(header::ETAG.as_str()).ok_or_else(|| nonsense(BadAnswer("it has no ETag".into())))?;
        // A store that does not say it keeps the hash is not asked to compare with it.
        let sha256 = reply.header(CHECKSUM).filter(|theirs| *theirs == checksum).map(Box::from);
        Ok(ListedPart { number: part.number, len_bytes: part.len_bytes(), etag: etag.into(), sha256 })
    }

    /// Makes the object of its parts; with `is_conditional`, if there is none of its name.
    pub async fn complete(
        &self,
        object: &str,
        upload_id: &str,
        parts: &[ListedPart],
        is_conditional: bool,
    ) -> Result<Completed, UploadError> {
        let query = [("uploadId", upload_id)];
        let body = Bytes::from(answers::completion(parts.iter()));
        let mut asked = Asked::new("completing the upload", Method::POST, Some(object), &query).whole(body);
        asked.headers = vec![("content-type", "application/xml".to_owned())];
        if is_conditional {
            asked.headers.push(("if-none-match", "*".to_owned()));
        }
        asked.patience = COMPLETION;
        let act = asked.act;
        let unsure = |source: Box<dyn Error + Send + Sync>| UploadError::NoAnswer { act, is_unsure: true, source };
        let reply = match self.call_for(asked, |status| status == StatusCode::PRECONDITION_FAILED).await {
            Err(UploadError::NoAnswer { source, .. }) if may_have_come(&*source) => return Err(unsure(source)),
            Err(UploadError::Refused { .. }) if is_conditional => return Ok(Completed::Refused),
            other => other?,
        };
        let status = reply.status;
        if status == StatusCode::PRECONDITION_FAILED {
            return Ok(Completed::Taken);
        }
        let body = reply.whole(MAX_ANSWER_BYTES).await.map_err(|error| unsure(error.into()))?;
        match answers::completed(&body) {
            Ok(Ok(())) => Ok(Completed::Done),
            Ok(Err(refused)) if &*refused.code == "PreconditionFailed" => Ok(Completed::Taken),
            Ok(Err(refused)) => Err(refusal::error(act, status, Some(&refused), None)),
            Err(bad) => Err(unsure(bad.into())),
        }
    }

    /// Forgets an upload under way. One that is not there is forgotten.
    pub async fn abort(&self, object: &str, upload_id: &str) -> Result<(), UploadError> {
        let query = [("uploadId", upload_id)];
        match self.call(Asked::new("giving the upload up", Method::DELETE, Some(object), &query)).await {
            Ok(_) | Err(UploadError::TicketGone { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// What is said of an object, if there is one.
    pub async fn head(&self, object: &str) -> Result<Option<ObjectHead>, UploadError> {
        let asked = Asked::new("asking for the video", Method::HEAD, Some(object), &[]);
        let Some(reply) = self.unless_absent(asked).await? else { return Ok(None) };
        let text = |name| reply.header(name).map(str::to_owned);
        let len_bytes = reply.header("content-length").and_then(|text| text.parse().ok());
        Ok(Some(ObjectHead { len_bytes, upload_key: text(META_KEY), sha256: text(META_SHA256) }))
    }

    /// A small object, if there is one.
    pub async fn get(&self, object: &str) -> Result<Option<Bytes>, UploadError> {
        let asked = Asked::new("reading what lies beside the video", Method::GET, Some(object), &[]);
        let act = asked.act;
        match self.unless_absent(asked).await? {
            Some(reply) => reply.whole(MAX_ANSWER_BYTES).await.map(Some).map_err(|error| lost(act, error)),
            None => Ok(None),
        }
    }

    /// Writes a small object, over whatever is there.
    pub async fn put(&self, object: &str, content_type: &str, body: Bytes) -> Result<(), UploadError> {
        let mut asked = Asked::new("writing what lies beside the video", Method::PUT, Some(object), &[]).whole(body);
        asked.headers = vec![("content-type", content_type.to_owned())];
        self.call(asked).await.map(drop)
    }

    /// Deletes a small object; one that is not there is deleted.
    pub async fn delete(&self, object: &str) -> Result<(), UploadError> {
        let asked = Asked::new("deleting what lies beside the video", Method::DELETE, Some(object), &[]);
        self.unless_absent(asked).await.map(drop)
    }

    async fn unless_absent(&self, asked: Asked<'_>) -> Result<Option<Reply>, UploadError> {
        match self.call_for(asked, |status| status == StatusCode::NOT_FOUND).await? {
            reply if reply.status == StatusCode::NOT_FOUND => Ok(None),
            reply => Ok(Some(reply)),
        }
    }

    async fn body<T>(
        &self,
        asked: Asked<'_>,
        read: impl FnOnce(&[u8]) -> Result<T, BadAnswer>,
    ) -> Result<T, UploadError> {
        let act = asked.act;
        let body = self.call(asked).await?.whole(MAX_ANSWER_BYTES).await.map_err(|error| lost(act, error))?;
        read(&body).map_err(nonsense)
    }

    async fn call(&self, asked: Asked<'_>) -> Result<Reply, UploadError> {
        self.call_for(asked, |_| false).await
    }

    /// Sends it. What is neither a success nor `expected` is an error.
    async fn call_for(&self, asked: Asked<'_>, expected: impl Fn(StatusCode) -> bool) -> Result<Reply, UploadError> {
        let act = asked.act;
        let url = self.url(asked.object, asked.query);
        let headers = self.signed(&asked, &url);
        let is_head = asked.method == Method::HEAD;
        let outgoing =
            Outgoing { method: asked.method, url: &url, headers, cargo: asked.cargo, patience: asked.patience };
        let reply = self.http.carry(outgoing).await.map_err(|error| lost(act, error))?;
        let status = reply.status;
        if status.is_success() || expected(status) {
            return Ok(reply);
        }
        let retry_after =
            reply.header("retry-after").and_then(|text| text.trim().parse().ok()).map(Duration::from_secs);
        // An answer to HEAD has no body that would say why.
        let body = if is_head { Bytes::new() } else { reply.whole(MAX_ANSWER_BYTES).await.unwrap_or_default() };
        Err(refusal::error(act, status, answers::refusal(&body).as_ref(), retry_after))
    }

    /// Where it is asked for.
    fn url(&self, object: Option<&str>, query: &[(&str, &str)]) -> Url {
        let mut url = self.config.bucket_url();
        let path = format!("{}/{}", url.path().trim_end_matches('/'), encoded_path(object.unwrap_or_default()));
        url.set_path(&path);
        url.set_query((!query.is_empty()).then(|| encoded_query(query)).as_deref());
        url
    }

    fn signed(&self, asked: &Asked<'_>, url: &Url) -> Vec<(&'static str, String)> {
        let at = self.clock.now();
        let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
        let mut headers = vec![
            ("host", format!("{}{port}", url.host_str().unwrap_or_default())),
            ("x-amz-content-sha256", asked.payload_sha256.clone()),
            ("x-amz-date", amz_date(at)),
        ];
        headers.extend(asked.headers.iter().cloned());
        headers.extend(
            self.credentials.session_token.iter().map(|token| ("x-amz-security-token", token.expose().to_owned())),
        );
        headers.sort();
        let request = sign::Request {
            method: asked.method.as_str(),
            path: url.path(),
            query: url.query().unwrap_or_default(),
            headers: &headers,
            payload_sha256: &asked.payload_sha256,
            region: &self.config.region,
            at,
        };
        let authorization = authorization(&request, &self.credentials);
        headers.push(("authorization", authorization));
        headers
    }
}

fn may_have_come(error: &(dyn Error + Send + Sync + 'static)) -> bool {
    error.downcast_ref::<SendError>().is_none_or(SendError::may_have_come)
}

fn nonsense(bad: BadAnswer) -> UploadError {
    UploadError::Busy { why: bad.to_string(), retry_after: None }
}
