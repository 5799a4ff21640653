//! `/frame…`, `/thumbnail…` and `/waveform…`: pictures out of the record.

use std::str::FromStr;
use std::time::Duration;

use actix_web::http::{Method, header};
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder, web};
use bytes::Bytes;
use futures_util::stream;
use serde_json::json;

use super::cuts::record;
use super::params::{self, Query};
use super::playlists::{AskedRange, hours_of, select, span_of};
use super::{HttpError, Site};
use crate::cut::{self, Area, BadArea, CutError, Framing, TemplateAbout, Waveform, still_span};
use crate::model::{Channel, FileName, PixelBox, Quality, TemplateName, Timestamp};
use crate::store;

/// As much as editors ask for at once.
const LONGEST_WAVEFORM: Duration = Duration::from_secs(6 * 3600);
/// A template of 1920 x 1080 pixels without compression has 8 MB.
pub const MAX_TEMPLATE_BYTES: usize = 32 << 20;

/// The frame that a cut at `timestamp` would begin with, as PNG.
pub async fn frame(
    site: web::Data<Site>,
    path: web::Path<(String, String)>,
    request: HttpRequest,
) -> Result<HttpResponse, HttpError> {
    let (channel, quality) = (params::channel(&path.0)?, params::quality(&path.1)?);
    let moment = timestamp(&Query::parse(request.query_string()))?;
    if request.method() == Method::HEAD {
        hours_of(&site, &channel, &quality).await?;
        if !select(&site, &channel, &quality, still_span(moment)).await?.has_content() {
            return Err(HttpError::NoContent);
        }
        // There is something to show; drawing it for nobody would take an ffmpeg.
        return Ok(answer("image/png").streaming(stream::empty::<Result<Bytes, HttpError>>()));
    }
    let picture = still(&site, channel, quality, moment).await?;
    Ok(answer("image/png").body(picture))
}

/// That frame, cropped to `crop` and scaled to `location`; under the template that a POST brings, or that is called `template` in
/// the database or on this disk, which may have a crop and a location of its own.
pub async fn thumbnail(
    site: web::Data<Site>,
    path: web::Path<(String, String)>,
    request: HttpRequest,
    body: Bytes,
) -> Result<HttpResponse, HttpError> {
    let (channel, quality) = (params::channel(&path.0)?, params::quality(&path.1)?);
    let query = Query::parse(request.query_string());
    let moment = timestamp(&query)?;
    let (crop, location) = (area(&query, "crop")?, area(&query, "location")?);
    let (template, about) = match query.get("template") {
        None => ((request.method() == Method::POST).then_some(body), TemplateAbout::default()),
        Some(_) if request.method() == Method::POST => {
            let why = "give either a name, or a template as the body".into();
            return Err(HttpError::Parameter { parameter: "template", why });
        }
        Some(name) => named_template(&site, name).await.map(|(image, about)| (Some(image), about))?,
    };
    let framing = Framing { crop: crop.or(about.crop), location: location.or(about.location), template };
    let frame = still(&site, channel, quality, moment).await?;
    let picture = cut::thumbnail(&site.ffmpeg, frame, framing).await?;
    Ok(answer("image/png").body(picture))
}

/// That of the database, which is what videos get, goes before a file of the same name. While the database is down, files are
/// used all the same.
async fn named_template(site: &Site, name: &str) -> Result<(Bytes, TemplateAbout), HttpError> {
    // A file may have a longer name than a template of the database.
    let Ok(known) = name.parse::<TemplateName>() else { return template_of_disk(site, name).await };
    match template_of_db(site, &known).await {
        Ok(Some(found)) => Ok(found),
        Ok(None) => template_of_disk(site, name).await,
        Err(unknown) => template_of_disk(site, name).await.map_err(|missing| match missing {
            HttpError::Absent(_) => unknown,
            other => other,
        }),
    }
}

async fn template_of_db(site: &Site, name: &TemplateName) -> Result<Option<(Bytes, TemplateAbout)>, HttpError> {
    let Some(template) = site.db.template(name).await? else { return Ok(None) };
    let Some(image) = site.db.template_image(name).await? else { return Ok(None) };
    let area = |parameter: &'static str, sides: PixelBox| {
        let [left, top, right, bottom] = sides.0.map(|side| u32::try_from(side).ok());
        let whole = left.zip(top).zip(right.zip(bottom)).ok_or(BadArea);
        let area = whole.and_then(|((left, top), (right, bottom))| Area::try_from([left, top, right, bottom]));
        let bad = |why: BadArea| HttpError::Parameter { parameter, why: format!("of the template {name}: {why}") };
        area.map(Some).map_err(bad)
    };
    let about = TemplateAbout { crop: area("crop", template.crop)?, location: area("location", template.location)? };
    Ok(Some((image.into(), about)))
}

async fn template_of_disk(site: &Site, name: &str) -> Result<(Bytes, TemplateAbout), HttpError> {
    let name: FileName = name.parse().map_err(|why| HttpError::Name { what: "template", why })?;
    let layout = site.layout.clone();
    let files = site.blocking.run(move || store::read_template(&layout, &name)).await??;
    let files = files.ok_or(HttpError::Absent("template"))?;
    let about = files.about.as_deref().map(TemplateAbout::parse).transpose().map_err(CutError::from)?;
    Ok((files.image.into(), about.unwrap_or_default()))
}

pub async fn waveform_png(
    site: web::Data<Site>,
    path: web::Path<(String, String)>,
    request: HttpRequest,
) -> Result<HttpResponse, HttpError> {
    let (size, waveform) = waveform(&site, &path, &request).await?;
    let picture = site.blocking.run(move || waveform.png(size.height)).await?;
    Ok(answer("image/png").body(picture))
}

/// `{"start", "end", "peaks"}`: a peak of 0 to 255 for each of `size`'s columns, null in a hole.
pub async fn waveform_json(
    site: web::Data<Site>,
    path: web::Path<(String, String)>,
    request: HttpRequest,
) -> Result<HttpResponse, HttpError> {
    let (_, Waveform { span, columns }) = waveform(&site, &path, &request).await?;
    let text = json!({ "start": span.start().to_string(), "end": span.end().to_string(), "peaks": columns });
    Ok(answer("application/json").body(text.to_string()))
}

async fn waveform(site: &Site, path: &(String, String), request: &HttpRequest) -> Result<(Size, Waveform), HttpError> {
    let (channel, quality) = (params::channel(&path.0)?, params::quality(&path.1)?);
    let query = Query::parse(request.query_string());
    let size = query.get("size").map_or(Ok(Size::USUAL), str::parse);
    let size = size.map_err(|BadSize| HttpError::Parameter { parameter: "size", why: BadSize.to_string() })?;
    let span = span_of(site, &channel, &quality, AskedRange::parse(&query)?).await?.ok_or(HttpError::NoContent)?;
    if span.duration() > LONGEST_WAVEFORM {
        let why = "a waveform is of 6 hours at most".into();
        return Err(HttpError::Parameter { parameter: "end", why });
    }
    let selection = select(site, &channel, &quality, span).await?;
    if !selection.has_content() {
        return Err(HttpError::NoContent);
    }
    let drawn = site.waveforms.draw(&record(site, channel, quality), &selection, size.width).await?;
    Ok((size, drawn))
}

/// Of a picture, in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Size {
    width: u32,
    height: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("write it as WIDTHxHEIGHT, from 1x1 to 4096x4096")]
struct BadSize;

impl Size {
    const USUAL: Size = Size { width: 1024, height: 64 };
}

impl FromStr for Size {
    type Err = BadSize;

    fn from_str(text: &str) -> Result<Self, BadSize> {
        let (width, height) = text.split_once('x').ok_or(BadSize)?;
        let within = |text: &str| text.parse().ok().filter(|pixels| (1..=4096).contains(pixels)).ok_or(BadSize);
        Ok(Self { width: within(width)?, height: within(height)? })
    }
}

fn timestamp(query: &Query) -> Result<Timestamp, HttpError> {
    let missing = || HttpError::Parameter { parameter: "timestamp", why: "it is missing".into() };
    query.time("timestamp")?.ok_or_else(missing)
}

fn area(query: &Query, parameter: &'static str) -> Result<Option<Area>, HttpError> {
    let bad = |why: BadArea| HttpError::Parameter { parameter, why: why.to_string() };
    query.get(parameter).map(str::parse).transpose().map_err(bad)
}

async fn still(site: &Site, channel: Channel, quality: Quality, moment: Timestamp) -> Result<Bytes, HttpError> {
    hours_of(site, &channel, &quality).await?;
    let selection = select(site, &channel, &quality, still_span(moment)).await?;
    if !selection.has_content() {
        return Err(HttpError::NoContent);
    }
    Ok(cut::still(record(site, channel, quality), site.ffmpeg.clone(), &selection).await?)
}

fn answer(content_type: &'static str) -> HttpResponseBuilder {
    let mut response = HttpResponse::Ok();
    response.insert_header((header::CONTENT_TYPE, content_type));
    response.insert_header((header::CACHE_CONTROL, "no-cache"));
    response
}
