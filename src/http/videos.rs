//! `/generate_videos…`: archives of ranges, written into BASE.

use std::collections::BTreeMap;

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use slog::{error, info};

use super::access;
use super::cuts::{learn_encodings, record};
use super::params;
use super::playlists::{hours_of, select};
use super::{HttpError, Site};
use crate::causes::chain;
use crate::cut::{self, KnownEncodings, Plan, Record};
use crate::model::{FileName, Quality, Role, Span};
use crate::store::{self, PendingVideo, StoreError};

/// More names than this are a mistake.
const MAX_VIDEOS: usize = 1000;

/// Videos that are still to be written.
struct Jobs {
    site: Site,
    record: Record,
    rest: std::vec::IntoIter<(FileName, Plan)>,
    /// What stands before the next name in the answer; `None` after the last.
    before: Option<&'static str>,
}

/// Takes `{name: [start, end]}`, writes `CHANNEL_QUALITY_NAME_N.mkv` for each stretch of each range without holes, and
/// answers with a JSON list of the files, each as soon as it is written. A client that leaves ends it.
pub async fn generate(
    site: web::Data<Site>,
    path: web::Path<(String, String)>,
    request: HttpRequest,
    body: web::Bytes,
) -> Result<HttpResponse, HttpError> {
    // Scripts of the existing system have no tokens: it takes one where there are some. The body is {name: range}, so it
    // can only be in the header.
    if site.door.has_tokens() {
        access::admit(&site, &request, None, Role::Editor).await?;
    }
    let (channel, quality) = (params::channel(&path.0)?, params::quality(&path.1)?);
    let bad = |why: String| HttpError::Parameter { parameter: "body", why };
    let asked: BTreeMap<String, (String, String)> =
        serde_json::from_slice(&body).map_err(|error| bad(format!("write it as {{name: [start, end]}}; {error}")))?;
    if asked.len() > MAX_VIDEOS {
        return Err(bad(format!("there are more than {MAX_VIDEOS} names")));
    }
    hours_of(&site, &channel, &quality).await?;
    let mut jobs = Vec::new();
    for (name, (start, end)) in asked {
        let named = |why| HttpError::Name { what: "name", why };
        let name: Quality = name.parse().map_err(named)?;
        let span = Span::new(params::time("start", &start)?, params::time("end", &end)?)?;
        let selection = select(&site, &channel, &quality, span).await?;
        let mut known = KnownEncodings::default();
        learn_encodings(&site, &channel, &quality, &selection, &mut known).await;
        for (number, plan) in Plan::archives(&selection, &known).into_iter().enumerate() {
            jobs.push((format!("{channel}_{quality}_{name}_{number}.mkv").parse().map_err(named)?, plan));
        }
    }
    let record = record(&site, channel, quality);
    info!(site.log, "archives asked for"; "path" => request.path(), "files" => jobs.len());
    let jobs = Jobs { site: site.get_ref().clone(), record, rest: jobs.into_iter(), before: Some("[") };
    let answer = stream::try_unfold(jobs, |mut jobs| async move {
        let next = jobs.next().await.inspect_err(|failure| {
            error!(jobs.site.log, "an archive failed"; "error" => chain(failure));
        })?;
        Ok::<_, HttpError>(next.map(|text| (Bytes::from(text), jobs)))
    });
    Ok(HttpResponse::Ok().insert_header((header::CONTENT_TYPE, "application/json")).streaming(answer.boxed_local()))
}

impl Jobs {
    /// Writes the next file; gives the next piece of the answer.
    async fn next(&mut self) -> Result<Option<String>, HttpError> {
        let Some(before) = self.before else { return Ok(None) };
        let Some((name, plan)) = self.rest.next() else {
            self.before = None;
            return Ok(Some(if before == "[" { "[]".to_owned() } else { "]".to_owned() }));
        };
        self.write(&name, plan).await?;
        self.before = Some(",");
        Ok(Some(format!("{before}{}", serde_json::Value::from(name.as_str()))))
    }

    async fn refuse_without_room(&self) -> Result<(), HttpError> {
        let (layout, least) = (self.record.layout.clone(), self.site.min_free_bytes);
        let is_short = move || Ok::<_, StoreError>(least > 0 && store::free_bytes(&layout)? < least);
        if self.record.blocking.run(is_short).await?? { Err(HttpError::NoRoom) } else { Ok(()) }
    }

    async fn write(&self, name: &FileName, plan: Plan) -> Result<(), HttpError> {
        self.refuse_without_room().await?;
        let mut bytes = cut::start(self.record.clone(), self.site.ffmpeg.clone(), plan).await?;
        let (layout, blocking, file) = (self.record.layout.clone(), &self.record.blocking, name.clone());
        let mut video = blocking.run(move || PendingVideo::create(&layout, &file)).await??;
        while let Some(bytes) = bytes.next().await {
            let bytes = bytes?;
            video = blocking.run(move || video.append(&bytes).map(|()| video)).await??;
        }
        blocking.run(move || video.finish()).await??;
        info!(self.site.log, "archive written"; "file" => name.as_str());
        Ok(())
    }
}
