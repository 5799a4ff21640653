//! Playlists of tags, with the lines that the descriptions of their videos have about them.

use diesel::prelude::*;
use diesel::upsert::excluded;
use serde_json::json;

use super::conn::{DbConnection, on_engine};
use super::error::DbError;
use super::handle::Db;
use super::schema::playlists;
use crate::model::TemplateName;

/// A playlist that videos belong to by their tags.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Playlist {
    pub id: String,
    pub name: String,
    pub description: String,
    /// `None`: nothing belongs to it; none: everything does.
    pub tags: Option<Vec<String>>,
    /// What the destination calls it.
    pub playlist_id: Option<String>,
    pub show_in_description: bool,
    /// The template that its videos have unless somebody chooses another.
    pub default_template: Option<TemplateName>,
}

impl Playlist {
    /// Whether an event with these tags belongs to it: it has all of the playlist's, whatever their case.
    pub fn holds(&self, tags: &[String]) -> bool {
        let has = |wanted: &String| tags.iter().any(|tag| tag.to_lowercase() == wanted.to_lowercase());
        self.tags.as_ref().is_some_and(|wanted| wanted.iter().all(has))
    }
}

#[derive(Clone, Queryable, Insertable)]
#[diesel(table_name = playlists, treat_none_as_default_value = false)]
struct Row {
    id: String,
    name: String,
    description: String,
    tags: Option<String>,
    playlist_id: Option<String>,
    show_in_description: bool,
    default_template: Option<String>,
}

impl Db {
    /// Keeps a playlist, new or again.
    pub async fn keep_playlist(&self, playlist: &Playlist) -> Result<(), DbError> {
        let row = Row {
            id: playlist.id.clone(),
            name: playlist.name.clone(),
            description: playlist.description.clone(),
            tags: playlist.tags.as_ref().map(|tags| json!(tags).to_string()),
            playlist_id: playlist.playlist_id.clone(),
            show_in_description: playlist.show_in_description,
            default_template: playlist.default_template.as_ref().map(ToString::to_string),
        };
        self.write(move |conn| Ok(upsert(conn, &row)?)).await
    }

    /// All playlists, by id.
    pub async fn playlists(&self) -> Result<Vec<Playlist>, DbError> {
        let rows: Vec<Row> = self.run(|conn| Ok(playlists::table.load(conn)?)).await?;
        let mut found = rows.into_iter().map(read).collect::<Result<Vec<Playlist>, DbError>>()?;
        found.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(found)
    }
}

fn upsert(conn: &mut DbConnection, row: &Row) -> QueryResult<()> {
    on_engine!(conn, |conn| {
        diesel::insert_into(playlists::table)
            .values(row.clone())
            .on_conflict(playlists::id)
            .do_update()
            .set((
                playlists::name.eq(excluded(playlists::name)),
                playlists::description.eq(excluded(playlists::description)),
                playlists::tags.eq(excluded(playlists::tags)),
                playlists::playlist_id.eq(excluded(playlists::playlist_id)),
                playlists::show_in_description.eq(excluded(playlists::show_in_description)),
                playlists::default_template.eq(excluded(playlists::default_template)),
            ))
            .execute(conn)
    })?;
    Ok(())
}

fn read(row: Row) -> Result<Playlist, DbError> {
    let unreadable = |why: String| DbError::Unreadable { what: format!("playlist {:?}", row.id), why };
    let tags = row.tags.as_deref().map(serde_json::from_str).transpose();
    let template = row.default_template.as_deref().map(str::parse).transpose();
    Ok(Playlist {
        tags: tags.map_err(|error: serde_json::Error| unreadable(error.to_string()))?,
        default_template: template.map_err(|error: crate::model::BadName| unreadable(error.to_string()))?,
        id: row.id,
        name: row.name,
        description: row.description,
        playlist_id: row.playlist_id,
        show_in_description: row.show_in_description,
    })
}
