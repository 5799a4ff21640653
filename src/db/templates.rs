//! Thumbnail templates.

use diesel::prelude::*;
use serde_json::{Value, json};

use super::error::DbError;
use super::handle::Db;
use super::schema::templates;
use crate::model::{PixelBox, TemplateName};

/// A template, without its image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    pub name: TemplateName,
    pub description: String,
    /// Who made it; empty if nobody is to be named.
    pub attribution: String,
    /// Which part of the frame is shown.
    pub crop: PixelBox,
    /// Where in the image.
    pub location: PixelBox,
}

impl Template {
    pub fn to_json(&self) -> Value {
        json!({
            "name": self.name.as_str(),
            "description": self.description,
            "attribution": self.attribution,
            "crop": self.crop.0,
            "location": self.location.0,
        })
    }
}

/// What became of a change of a template.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TemplateKept {
    Kept,
    /// The name is another one's.
    Taken,
    Absent,
}

#[derive(Clone, Insertable)]
#[diesel(table_name = templates)]
struct NewRow {
    name: String,
    description: String,
    attribution: String,
    crop: String,
    location: String,
    /// Absent: left as it is.
    image: Option<Vec<u8>>,
}

impl NewRow {
    fn of(template: &Template, image: Option<Vec<u8>>) -> Self {
        Self {
            name: template.name.to_string(),
            description: template.description.clone(),
            attribution: template.attribution.clone(),
            crop: json!(template.crop.0).to_string(),
            location: json!(template.location.0).to_string(),
            image,
        }
    }
}

type Row = (String, String, String, String, String);

impl Db {
    /// All templates that can be read, by name.
    pub async fn templates(&self) -> Result<Vec<Template>, DbError> {
        let columns =
            (templates::name, templates::description, templates::attribution, templates::crop, templates::location);
        let rows: Vec<Row> = self.run(move |conn| Ok(templates::table.select(columns).load(conn)?)).await?;
        let mut found: Vec<Template> = rows.into_iter().filter_map(|row| read(row).ok()).collect();
        found.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(found)
    }

    pub async fn template(&self, name: &TemplateName) -> Result<Option<Template>, DbError> {
        let name = name.to_string();
        let columns =
            (templates::name, templates::description, templates::attribution, templates::crop, templates::location);
        let row: Option<Row> =
            self.run(move |conn| Ok(templates::table.find(name).select(columns).first(conn).optional()?)).await?;
        row.map(read).transpose()
    }

    /// Its image, a PNG.
    pub async fn template_image(&self, name: &TemplateName) -> Result<Option<Vec<u8>>, DbError> {
        let name = name.to_string();
        self.run(move |conn| Ok(templates::table.find(name).select(templates::image).first(conn).optional()?)).await
    }

    pub async fn add_template(&self, template: &Template, image: Vec<u8>) -> Result<TemplateKept, DbError> {
        let row = NewRow::of(template, Some(image));
        self.write(move |conn| {
            if diesel::select(diesel::dsl::exists(templates::table.find(&row.name))).get_result(conn)? {
                return Ok(TemplateKept::Taken);
            }
            diesel::insert_into(templates::table).values(row.clone()).execute(conn)?;
            Ok(TemplateKept::Kept)
        })
        .await
    }

    /// Changes the template `name`, also its name; without an image, that stays.
    pub async fn update_template(
        &self,
        name: &TemplateName,
        template: &Template,
        image: Option<Vec<u8>>,
    ) -> Result<TemplateKept, DbError> {
        let (old, row) = (name.to_string(), NewRow::of(template, image));
        self.write(move |conn| {
            if row.name != old
                && diesel::select(diesel::dsl::exists(templates::table.find(&row.name))).get_result(conn)?
            {
                return Ok(TemplateKept::Taken);
            }
            let changed = diesel::update(templates::table.find(&old))
                .set((
                    templates::name.eq(&row.name),
                    templates::description.eq(&row.description),
                    templates::attribution.eq(&row.attribution),
                    templates::crop.eq(&row.crop),
                    templates::location.eq(&row.location),
                    row.image.as_ref().map(|image| templates::image.eq(image)),
                ))
                .execute(conn)?;
            Ok(if changed == 1 { TemplateKept::Kept } else { TemplateKept::Absent })
        })
        .await
    }
}

fn read((name, description, attribution, crop, location): Row) -> Result<Template, DbError> {
    let unreadable = |why: String| DbError::Unreadable { what: format!("template {name:?}"), why };
    let area = |text: &str| {
        let value: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
        PixelBox::read(&value)
    };
    Ok(Template {
        crop: area(&crop).map_err(unreadable)?,
        location: area(&location).map_err(unreadable)?,
        description,
        attribution,
        name: name.parse().map_err(|error: crate::model::BadName| unreadable(error.to_string()))?,
    })
}
