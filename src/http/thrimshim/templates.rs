//! Thumbnail templates, as editors of the existing system keep them.

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::{Map, Value};

use super::super::access::admit_with_body;
use super::super::error::EditorError;
use super::super::{HttpError, Site, get_or_head, resource, resource_for, stills};
use crate::db::{Template, TemplateKept};
use crate::model::{PixelBox, Role, TemplateName, read_png, read_text};

/// In base64, four letters for three bytes; and all else there is to say.
const MAX_BODY_BYTES: usize = stills::MAX_TEMPLATE_BYTES / 3 * 4 + (1 << 20);

const FIELDS: [&str; 5] = ["name", "description", "attribution", "crop", "location"];

pub fn routes(config: &mut web::ServiceConfig) {
    let payload = || web::PayloadConfig::new(MAX_BODY_BYTES);
    config
        .service(resource("/thrimshim/templates").route(get_or_head().to(list)))
        .service(resource("/thrimshim/template/{name}.png").route(get_or_head().to(image)))
        .service(resource("/thrimshim/template-metadata/{name}").route(get_or_head().to(metadata)))
        .service(resource_for("/thrimshim/add-template", "POST").app_data(payload()).route(web::post().to(add)))
        .service(
            resource_for("/thrimshim/update-template/{name}", "POST").app_data(payload()).route(web::post().to(update)),
        );
}

fn name(text: &str) -> Result<TemplateName, HttpError> {
    text.parse().map_err(|why| HttpError::Name { what: "template", why })
}

async fn list(site: web::Data<Site>) -> Result<HttpResponse, EditorError> {
    let templates = site.db.templates().await?;
    Ok(HttpResponse::Ok().json(templates.iter().map(Template::to_json).collect::<Vec<_>>()))
}

async fn image(site: web::Data<Site>, path: web::Path<String>) -> Result<HttpResponse, EditorError> {
    let image = site.db.template_image(&name(&path)?).await?.ok_or(HttpError::Absent("template"))?;
    Ok(HttpResponse::Ok().content_type("image/png").insert_header((header::CACHE_CONTROL, "no-cache")).body(image))
}

async fn metadata(site: web::Data<Site>, path: web::Path<String>) -> Result<HttpResponse, EditorError> {
    let template = site.db.template(&name(&path)?).await?.ok_or(HttpError::Absent("template"))?;
    Ok(HttpResponse::Ok().json(template.to_json()))
}

async fn add(site: web::Data<Site>, request: HttpRequest, body: web::Bytes) -> Result<HttpResponse, EditorError> {
    let (_, body) = admit_with_body(&site, &request, &body, Role::Artist).await?;
    if !body.contains_key("image") {
        return Err(HttpError::MissingFields(vec!["image"]).into());
    }
    let (template, image) = read(&body)?;
    kept(site.db.add_template(&template, image.unwrap_or_default()).await?)?;
    Ok(HttpResponse::Created().finish())
}

async fn update(
    site: web::Data<Site>,
    path: web::Path<String>,
    request: HttpRequest,
    body: web::Bytes,
) -> Result<HttpResponse, EditorError> {
    let (_, body) = admit_with_body(&site, &request, &body, Role::Artist).await?;
    let old = name(&path)?;
    let (template, image) = read(&body)?;
    kept(site.db.update_template(&old, &template, image).await?)?;
    Ok(HttpResponse::Ok().finish())
}

fn kept(kept: TemplateKept) -> Result<(), HttpError> {
    match kept {
        TemplateKept::Kept => Ok(()),
        TemplateKept::Taken => Err(HttpError::Taken),
        TemplateKept::Absent => Err(HttpError::Absent("template")),
    }
}

fn read(body: &Map<String, Value>) -> Result<(Template, Option<Vec<u8>>), HttpError> {
    let missing: Vec<&'static str> = FIELDS.into_iter().filter(|field| !body.contains_key(*field)).collect();
    if !missing.is_empty() {
        return Err(HttpError::MissingFields(missing));
    }
    let bad = |parameter: &'static str| move |why: String| HttpError::Parameter { parameter, why };
    let text = |field: &'static str| read_text(&body[field]).map_err(bad(field));
    let area = |field: &'static str| PixelBox::read(&body[field]).map_err(bad(field));
    let image = body.get("image").map(|image| read_png(image, stills::MAX_TEMPLATE_BYTES)).transpose();
    let template = Template {
        name: name(&text("name")?)?,
        description: text("description")?,
        attribution: text("attribution")?,
        crop: area("crop")?,
        location: area("location")?,
    };
    Ok((template, image.map_err(bad("image"))?))
}
