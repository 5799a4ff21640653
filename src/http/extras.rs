//! `/extras/…`: which files a directory has that are neither segments nor chat. `/segments` has their bytes.

use actix_web::{HttpResponse, web};

use super::files::names;
use super::{HttpError, Site};
use crate::store::{self, Extras};

/// Paths relative to the directory; `[]` where there is none.
pub async fn list(site: web::Data<Site>, path: web::Path<String>) -> Result<HttpResponse, HttpError> {
    let dir = path.parse().map_err(|why| HttpError::Name { what: "directory", why })?;
    let layout = site.layout.clone();
    match site.blocking.run(move || store::list_extras(&layout, &dir)).await?? {
        Extras::All(files) => Ok(names(files)),
        Extras::TooMany => Err(HttpError::TooManyFiles),
    }
}
