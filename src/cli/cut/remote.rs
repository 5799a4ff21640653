//! A cut that a node makes. The one place of this command that speaks HTTP.

use std::time::Duration;

use anyhow::Context as _;
use awc::http::header;
use bytes::Bytes;
use futures_util::stream::{self, StreamExt};
use serde_json::Value;
use url::Url;

use super::{CutArgs, ReceiptSource, Source, StreamArgs};
use crate::config::Secret;
use crate::cut::{Begun, CutType, OnChange};
use crate::ingest::{Body, FetchError, HttpClient, Patience, Response};

/// A node waits up to a minute for a place for ffmpeg and another for ffmpeg itself, before the first byte and again
/// amid the cut.
const PATIENCE: Patience =
    Patience { head: Duration::from_secs(150), stall: Duration::from_secs(150), whole: Duration::from_secs(24 * 3600) };
/// What is put together first sends nothing for as long as that takes.
const PATIENCE_TO_THE_END: Patience = Patience { stall: Duration::from_secs(2 * 3600), ..PATIENCE };
/// How much of a refusal is shown.
const MAX_REFUSAL_BYTES: usize = 4096;
/// A day of segments of 2 s has 43,200 names of 150 bytes.
const MAX_RECEIPT_BYTES: usize = 16 << 20;

/// The receipt of a cut that a node made.
pub struct ReceiptAt {
    url: Url,
    authorization: Option<Secret>,
}

/// Asks for the rest of what has `begun`; a node that does not know its bytes sends all of its own.
pub async fn open(
    node: &Url,
    authorization: Option<Secret>,
    args: &CutArgs,
    begun: Option<Begun>,
) -> anyhow::Result<Source> {
    let url = address(node, args)?;
    let patience = if args.cut_type == CutType::Faststart { PATIENCE_TO_THE_END } else { PATIENCE };
    let response = match begun {
        Some(begun) => rest(&url, authorization.as_ref(), begun, patience).await,
        None => None,
    };
    let (response, begins_at_bytes) = match response {
        Some((response, begun)) => (response, begun.bytes),
        None => (whole(node, &url, authorization.as_ref(), patience).await?, 0),
    };
    let size_bytes = response.body.expected_bytes().map(|rest_bytes| begins_at_bytes + rest_bytes);
    let etag = response.etag.as_deref();
    let fingerprint = etag.and_then(|etag| etag.strip_prefix('"')?.strip_suffix('"')?.parse().ok());
    let place = response.cut_number.and_then(|number| receipt_address(node, number));
    let receipt = ReceiptSource::At(place.map(|url| ReceiptAt { url, authorization }));
    let bytes = stream::unfold(response.body, |mut body| async move {
        let next = body.next().await?;
        Some((next.map_err(anyhow::Error::from), body))
    });
    Ok(Source { size_bytes, begins_at_bytes, fingerprint, receipt, bytes: bytes.boxed_local() })
}

async fn whole(node: &Url, url: &Url, authorization: Option<&Secret>, patience: Patience) -> anyhow::Result<Response> {
    let response = ask(url, authorization, patience).await;
    let response = response.with_context(|| format!("cannot ask {node}; is the node running?"))?;
    if response.status != 200 {
        let refusal = refusal(response.body).await;
        anyhow::bail!("{node} refused the cut ({}): {refusal}", response.status);
    }
    Ok(response)
}

/// `None` if the node has no such rest.
async fn rest(
    url: &Url,
    authorization: Option<&Secret>,
    begun: Begun,
    patience: Patience,
) -> Option<(Response, Begun)> {
    let own = format!("\"{}\"", begun.fingerprint);
    let range = format!("bytes={}-", begun.bytes);
    let mut headers =
        vec![(header::ACCEPT_ENCODING, "identity"), (header::RANGE, range.as_str()), (header::IF_RANGE, own.as_str())];
    headers.extend(authorization.map(|value| (header::AUTHORIZATION, value.expose())));
    let response = HttpClient::of_this_arbiter().ask_here(url, &headers, patience).await.ok()?;
    // What is told of another cut, or of another place in it, is not what was asked for.
    let begins = format!("bytes {}-", begun.bytes);
    let is_rest = response.status == 206
        && response.etag.as_deref() == Some(own.as_str())
        && response.content_range.as_deref().is_some_and(|range| range.starts_with(&begins));
    is_rest.then_some((response, begun))
}

/// A redirect is followed where it takes no token along.
async fn ask(url: &Url, authorization: Option<&Secret>, patience: Patience) -> Result<Response, FetchError> {
    let http = HttpClient::of_this_arbiter();
    match authorization {
        Some(value) => http.ask_here(url, &[(header::AUTHORIZATION, value.expose())], patience).await,
        None => http.ask(url, patience).await,
    }
}

fn receipt_address(node: &Url, number: u64) -> Option<Url> {
    let mut url = node.clone();
    url.set_query(None);
    url.path_segments_mut().ok()?.pop_if_empty().extend(["cut", "receipts", &number.to_string()]);
    Some(url)
}

/// What a node says of a cut that has ended; `None` if it does not.
pub async fn receipt(at: &ReceiptAt) -> Option<Value> {
    let response = ask(&at.url, at.authorization.as_ref(), PATIENCE).await.ok()?;
    if response.status != 200 {
        return None;
    }
    serde_json::from_slice(&response.whole(MAX_RECEIPT_BYTES).await.ok()?).ok()
}

fn address(node: &Url, args: &CutArgs) -> anyhow::Result<Url> {
    let StreamArgs { channel, quality } = &args.stream;
    let mut url = node.clone();
    url.path_segments_mut()
        .map_err(|()| anyhow::anyhow!("{node} is no address of a node; write it as http://HOST:PORT"))?
        .pop_if_empty()
        .extend(["cut", channel.as_str(), &format!("{quality}.ts")]);
    let mut query = url.query_pairs_mut();
    query.clear();
    for range in &args.ranges {
        query.append_pair("range", &format!("{},{}", range.start(), range.end()));
    }
    for transition in &args.transitions {
        query.append_pair("transition", &transition.to_string());
    }
    query.append_pair("type", args.cut_type.as_str());
    if args.change == OnChange::Refuse {
        query.append_pair("change", &args.change.to_string());
    }
    if args.allow_holes {
        query.append_pair("allow_holes", "true");
    }
    drop(query);
    Ok(url)
}

/// What the node says about it: the message of its JSON, or whatever text it sent.
async fn refusal(mut body: Body) -> String {
    let mut text = Vec::new();
    while let Some(Ok(bytes)) = body.next().await {
        let bytes: Bytes = bytes;
        text.extend(bytes.iter().take(MAX_REFUSAL_BYTES - text.len()));
        if text.len() == MAX_REFUSAL_BYTES {
            break;
        }
    }
    let message = serde_json::from_slice::<serde_json::Value>(&text)
        .ok()
        .and_then(|answer| answer.get("message")?.as_str().map(str::to_owned));
    let shown = message.unwrap_or_else(|| String::from_utf8_lossy(&text).trim().to_owned());
    // Whatever answered need not be a node of ours: nothing that moves a terminal's cursor.
    shown.chars().filter(|letter| !letter.is_control()).collect()
}
