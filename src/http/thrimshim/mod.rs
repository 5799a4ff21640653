//! `/thrimshim…`: events as editors of the existing system speak of them (FORMATS §4). JSON fields are column names; refusals
//! are plain text, which these editors show.

mod templates;
mod update;

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use serde_json::{Map, Value, json};

use super::access::{MAX_BODY_BYTES, admit_with_body};
use super::error::EditorError;
use super::params::Query;
use super::{HttpError, Site, get_or_head, resource, resource_for};
use crate::cut::TRANSITIONS;
use crate::db::{Author, Changed, EventCursor, EventFilter, MAX_PAGE, Playlist};
use crate::model::{
    Channel, Event, EventId, EventStep, Role, TemplateName, ThumbnailMode, Timestamp, UploadLocation, Wording,
};

/// What editors start from.
#[derive(Debug, Clone, Default)]
pub struct EditorTerms {
    pub channel: Option<Channel>,
    pub begins: Option<Timestamp>,
    pub wording: Wording,
    pub upload_locations: Vec<UploadLocation>,
}

pub fn routes(config: &mut web::ServiceConfig) {
    let payload = || web::PayloadConfig::new(MAX_BODY_BYTES);
    config
        .service(resource("/thrimshim").route(get_or_head().to(rows)))
        .service(resource("/thrimshim/defaults").route(get_or_head().to(defaults)))
        .service(resource("/thrimshim/transitions").route(get_or_head().to(transitions)))
        .service(resource_for("/thrimshim/auth-test", "POST").app_data(payload()).route(web::post().to(auth_test)))
        .configure(templates::routes)
        .service(resource("/thrimshim/event-thumbnail/{id}.png").route(get_or_head().to(thumbnail)))
        .service(
            resource_for("/thrimshim/manual-link/{id}", "POST").app_data(payload()).route(web::post().to(manual_link)),
        )
        .service(resource_for("/thrimshim/reset/{id}", "POST").app_data(payload()).route(web::post().to(reset)))
        .service(
            resource_for("/thrimshim/{id}", "GET, HEAD, POST")
                .app_data(payload())
                .route(get_or_head().to(row))
                .route(web::post().to(update::update)),
        );
}

pub fn event_id(text: &str) -> Result<EventId, HttpError> {
    text.parse().map_err(|why| HttpError::Name { what: "id", why })
}

/// All events, by their start: page after page, so that they are never in memory at once.
async fn rows(site: web::Data<Site>) -> Result<HttpResponse, EditorError> {
    let first = site.db.events(&EventFilter::default(), None, MAX_PAGE).await?;
    let site = site.get_ref().clone();
    let opening = (Some((first, "[")), None::<EventCursor>, false);
    let texts = stream::try_unfold(opening, move |(page, after, ended)| {
        let site = site.clone();
        async move {
            let (page, opening) = match (page, after) {
                (Some((page, opening)), _) => (page, opening),
                (None, Some(after)) => (site.db.events(&EventFilter::default(), Some(&after), MAX_PAGE).await?, ","),
                (None, None) if ended => return Ok::<_, HttpError>(None),
                (None, None) => return Ok(Some((Bytes::from_static(b"]"), (None, None, true)))),
            };
            let rows: Vec<String> = page.events.iter().map(|event| Value::from(event.to_json()).to_string()).collect();
            // Rows that nobody can read must not part two commas.
            let opening = if rows.is_empty() && opening == "," { "" } else { opening };
            let text = format!("{opening}{}", rows.join(","));
            Ok(Some((Bytes::from(text), (None, page.next, false))))
        }
    });
    Ok(HttpResponse::Ok().insert_header((header::CONTENT_TYPE, "application/json")).streaming(texts.boxed_local()))
}

async fn defaults(site: web::Data<Site>) -> HttpResponse {
    let mut answer = Map::new();
    answer.insert("video_channel".into(), json!(site.terms.channel.as_ref().map(Channel::as_str)));
    add_terms(&site.terms, &mut answer);
    HttpResponse::Ok().json(answer)
}

fn add_terms(terms: &EditorTerms, answer: &mut Map<String, Value>) {
    let locations: Vec<&str> = terms.upload_locations.iter().map(UploadLocation::as_str).collect();
    answer.insert("bustime_start".into(), json!(terms.begins.map(|begins| begins.to_string())));
    answer.insert("title_prefix".into(), terms.wording.title_prefix().into());
    answer.insert("title_max_length".into(), terms.wording.title_room().into());
    answer.insert("upload_locations".into(), json!(locations));
}

async fn transitions() -> HttpResponse {
    let all = TRANSITIONS.iter().map(|kind| json!({ "name": kind.name, "description": kind.description }));
    HttpResponse::Ok().json(all.collect::<Vec<_>>())
}

async fn auth_test(site: web::Data<Site>, request: HttpRequest, body: web::Bytes) -> Result<HttpResponse, EditorError> {
    let (who, _) = admit_with_body(&site, &request, &body, Role::Editor).await?;
    Ok(HttpResponse::Ok().json(who.email.as_str()))
}

/// An event as an editor begins with it: with defaults, and without what is added to titles and descriptions.
async fn row(site: web::Data<Site>, path: web::Path<String>) -> Result<HttpResponse, EditorError> {
    let id = event_id(&path)?;
    let mut event = site.db.event(&id).await?.ok_or(HttpError::Absent("event"))?;
    let terms = &site.terms;
    if event.edit.thumbnail.template.is_none() {
        event.edit.thumbnail.template = default_template(&site.db.playlists().await?, &event.sheet.tags);
    }
    event.edit.thumbnail.time = event.edit.thumbnail.time.or_else(|| middle(&event));
    event.edit.video_channel = event.edit.video_channel.take().or_else(|| terms.channel.clone());
    let written = |text: Option<String>, strip: &dyn Fn(&str) -> String| text.map(|text| strip(&text));
    event.edit.video_title = written(event.edit.video_title, &|title| terms.wording.written_title(title).to_owned());
    event.edit.video_description =
        written(event.edit.video_description, &|text| terms.wording.written_description(text).to_owned());
    let mut answer = event.to_json();
    add_terms(terms, &mut answer);
    Ok(HttpResponse::Ok().json(answer))
}

/// The middle of the event, or its start: what its thumbnail shows unless somebody says otherwise.
fn middle(event: &Event) -> Option<Timestamp> {
    let start = event.sheet.event_start?;
    let half = event.sheet.event_end.map_or(0, |end| end.micros_since(start) / 2);
    Some(start.plus_micros(half))
}

/// Of the playlists of one tag, that of the event's last tag, as the general tags come first; else that of everything.
fn default_template(playlists: &[Playlist], tags: &[String]) -> Option<TemplateName> {
    let of_tag = |tag: Option<&String>| {
        playlists.iter().find_map(|playlist| match playlist.tags.as_deref()? {
            [] if tag.is_none() => playlist.default_template.clone(),
            [only] if Some(only) == tag => playlist.default_template.clone(),
            _ => None,
        })
    };
    tags.iter().rev().find_map(|tag| of_tag(Some(tag))).or_else(|| of_tag(None))
}

async fn thumbnail(site: web::Data<Site>, path: web::Path<String>) -> Result<HttpResponse, EditorError> {
    let id = event_id(&path)?;
    let event = site.db.event(&id).await?.ok_or(HttpError::Absent("event"))?;
    let thumbnail = event.edit.thumbnail;
    let image = thumbnail.image.filter(|_| thumbnail.mode != ThumbnailMode::None);
    let image = image.ok_or(HttpError::Absent("thumbnail of this event"))?;
    Ok(HttpResponse::Ok().content_type("image/png").insert_header((header::CACHE_CONTROL, "no-cache")).body(image))
}

/// `{link, upload_location}`: the video was published by hand.
async fn manual_link(
    site: web::Data<Site>,
    path: web::Path<String>,
    request: HttpRequest,
    body: web::Bytes,
) -> Result<HttpResponse, EditorError> {
    let (who, body) = admit_with_body(&site, &request, &body, Role::Editor).await?;
    let id = event_id(&path)?;
    let link = link_of(&body)?;
    let video_id =
        match body.get("upload_location").and_then(Value::as_str).unwrap_or("manual") {
            "manual" => None,
            "youtube-manual" => Some(youtube_id(&link).ok_or_else(|| {
                HttpError::Parameter {
                parameter: "link",
                why: "it is no link to a video at youtube.com or youtu.be; try it without what follows the video's id"
                    .into(),
            }
            })?),
            _ => {
                let why = "it must be manual or youtube-manual".into();
                return Err(HttpError::Parameter { parameter: "upload_location", why }.into());
            }
        };
    let location: UploadLocation =
        if video_id.is_some() { "youtube-manual" } else { "manual" }.parse().expect("a name");
    let (author, now, email) = (Author::Person(who.email.clone()), site.clock.now(), who.email);
    let change = move |event: &mut Event| {
        event.link(&email, video_id.as_deref(), &link, now)?;
        event.edit.upload_location = Some(location.clone());
        Ok(())
    };
    done(site.db.change_event(&id, EventStep::Link.as_str(), &author, now, change).await?)?;
    Ok(HttpResponse::Ok().finish())
}

/// The `link` of a body: an address that a page may lead to.
pub fn link_of(body: &Map<String, Value>) -> Result<String, HttpError> {
    let bad = |why: &str| HttpError::Parameter { parameter: "link", why: why.into() };
    let link = body.get("link").ok_or_else(|| bad("it is missing"))?;
    let link = crate::model::read_text(link).map_err(|why| bad(&why))?;
    let parsed = url::Url::parse(&link).map_err(|_| bad("it is no address"))?;
    if !matches!(parsed.scheme(), "http" | "https") {
        return Err(bad("it must begin with http:// or https://"));
    }
    Ok(link)
}

fn youtube_id(link: &str) -> Option<String> {
    let rest = link.strip_prefix("https://").or_else(|| link.strip_prefix("http://"))?;
    let rest = rest.strip_prefix("www.").unwrap_or(rest);
    let id = rest.strip_prefix("youtu.be/").or_else(|| rest.strip_prefix("youtube.com/watch?v="))?;
    let is_id = id.len() == 11 && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-');
    is_id.then(|| id.to_owned())
}

/// Back to UNEDITED; what may be published already only with `force=true`.
async fn reset(
    site: web::Data<Site>,
    path: web::Path<String>,
    request: HttpRequest,
    body: web::Bytes,
) -> Result<HttpResponse, EditorError> {
    let (who, _) = admit_with_body(&site, &request, &body, Role::Editor).await?;
    let id = event_id(&path)?;
    let force = Query::parse(request.query_string()).get("force").is_some_and(|it| it.eq_ignore_ascii_case("true"));
    let (step, change): (_, fn(&mut Event) -> _) =
        if force { (EventStep::Reset, Event::reset) } else { (EventStep::Cancel, Event::cancel) };
    done(site.db.change_event(&id, step.as_str(), &Author::Person(who.email), site.clock.now(), change).await?)?;
    Ok(HttpResponse::Ok().finish())
}

/// What an editor gets to hear of a change.
fn done(changed: Changed) -> Result<Event, HttpError> {
    use crate::model::Refusal;
    match changed {
        Changed::Done(event) => Ok(*event),
        Changed::Absent => Err(HttpError::Absent("event")),
        Changed::Refused(Refusal::Illegal(illegal)) => Err(HttpError::Published(illegal.state)),
        Changed::Refused(refusal) => Err(refusal.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_to_a_video_holds_its_id() {
        for (link, id) in [
            ("https://youtu.be/dQw4w9WgXcQ", Some("dQw4w9WgXcQ")),
            ("http://youtube.com/watch?v=dQw4w9WgXc-", Some("dQw4w9WgXc-")),
            ("https://www.youtube.com/watch?v=dQw4w9WgXcQ", Some("dQw4w9WgXcQ")),
            ("https://youtube.com/watch?v=dQw4w9WgXcQ&t=1", None),
            ("https://youtu.be/short", None),
            ("https://example.org/dQw4w9WgXcQ", None),
        ] {
            assert_eq!(youtube_id(link).as_deref(), id, "{link}");
        }
        for bad in [json!({}), json!({ "link": 5 }), json!({ "link": "javascript:alert(1)" }), json!({ "link": "x" })] {
            assert!(link_of(bad.as_object().unwrap()).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_template_of_the_last_tag_is_the_default() {
        let playlist = |tags: Option<&[&str]>, template: &str| Playlist {
            id: template.into(),
            name: String::new(),
            description: String::new(),
            tags: tags.map(|tags| tags.iter().map(|tag| (*tag).to_owned()).collect()),
            playlist_id: None,
            show_in_description: false,
            default_template: Some(template.parse().unwrap()),
        };
        let all = [
            playlist(None, "never"),
            playlist(Some(&["a", "b"]), "two tags"),
            playlist(Some(&[]), "everything"),
            playlist(Some(&["a"]), "of a"),
            playlist(Some(&["b"]), "of b"),
        ];
        let of = |tags: &[&str]| {
            let tags: Vec<String> = tags.iter().map(|tag| (*tag).to_owned()).collect();
            default_template(&all, &tags).map(|name| name.to_string())
        };
        assert_eq!(of(&["b", "a"]).as_deref(), Some("of a"));
        assert_eq!(of(&["a", "b", "c"]).as_deref(), Some("of b"));
        assert_eq!(of(&[]).as_deref(), Some("everything"));
        assert_eq!(default_template(&all[..2], &[]), None);
    }
}
