//! Which nodes there are: each keeps its own row; a person may add some, and say whom not to copy from.

use diesel::prelude::*;
use diesel::upsert::excluded;
use url::Url;

use super::conn::{DbConnection, on_engine};
use super::error::DbError;
use super::handle::Db;
use super::schema::nodes;
use crate::model::{NodeName, Timestamp};

/// What a node says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnNode {
    pub name: NodeName,
    /// Where the others reach it, as it was told; `None` leaves what a person wrote.
    pub url: Option<Url>,
    /// Where they do as it thinks; it counts only where nobody wrote anything.
    pub default_url: Option<Url>,
    pub version: String,
    /// When its process began.
    pub started_at: Timestamp,
    pub last_seen: Timestamp,
}

/// A node as the table has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    pub name: NodeName,
    pub url: Option<Url>,
    /// Whether others may copy from it: a person's switch, no node's.
    pub backfill_from: bool,
    /// The node's own words; may be any text. This and the times are `None` for a node that never wrote its row.
    pub version: Option<String>,
    pub started_at: Option<Timestamp>,
    pub last_seen: Option<Timestamp>,
}

/// A row that is no node, with the name that it has; may be any text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnreadableNode {
    pub name: String,
    pub why: String,
}

/// All rows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NodeList {
    /// In the order of their names.
    pub nodes: Vec<Node>,
    pub unreadable: Vec<UnreadableNode>,
}

#[derive(Clone, Insertable)]
#[diesel(table_name = nodes)]
struct NewRow {
    name: String,
    url: Option<String>,
    version: String,
    started_at: i64,
    last_seen: i64,
}

type Row = (String, Option<String>, bool, Option<String>, Option<i64>, Option<i64>);

impl Db {
    /// Writes the node's own row, new or again. What it does not say of itself stays.
    pub async fn keep_node(&self, own: &OwnNode) -> Result<(), DbError> {
        let row = NewRow {
            name: own.name.to_string(),
            url: own.url.as_ref().map(Url::to_string),
            version: own.version.clone(),
            started_at: own.started_at.micros(),
            last_seen: own.last_seen.micros(),
        };
        let default_url = own.default_url.as_ref().map(Url::to_string);
        self.write(move |conn| {
            upsert(conn, &row)?;
            default_url.as_ref().map_or(Ok(()), |url| fill_in(conn, &row.name, url)).map_err(Into::into)
        })
        .await
    }

    /// Every node that has a row.
    pub async fn nodes(&self) -> Result<NodeList, DbError> {
        let rows: Vec<Row> = self.run(|conn| Ok(nodes::table.load(conn)?)).await?;
        Ok(read_rows(rows))
    }
}

fn upsert(conn: &mut DbConnection, row: &NewRow) -> QueryResult<()> {
    on_engine!(conn, |conn| {
        diesel::insert_into(nodes::table)
            .values(row.clone())
            .on_conflict(nodes::name)
            .do_update()
            .set((
                row.url.as_ref().map(|url| nodes::url.eq(url)),
                nodes::version.eq(excluded(nodes::version)),
                nodes::started_at.eq(excluded(nodes::started_at)),
                nodes::last_seen.eq(excluded(nodes::last_seen)),
            ))
            .execute(conn)
    })?;
    Ok(())
}

/// Gives a row an address that has none.
fn fill_in(conn: &mut DbConnection, name: &str, url: &str) -> QueryResult<()> {
    let row = nodes::table.filter(nodes::name.eq(name)).filter(nodes::url.is_null());
    on_engine!(conn, |conn| diesel::update(row).set(nodes::url.eq(url)).execute(conn))?;
    Ok(())
}

fn read_rows(rows: Vec<Row>) -> NodeList {
    let mut list = NodeList::default();
    for row in rows {
        let name = row.0.clone();
        match read_row(row) {
            Ok(node) => list.nodes.push(node),
            Err(why) => list.unreadable.push(UnreadableNode { name, why }),
        }
    }
    // Here, as the engines do not agree on the order of texts.
    list.nodes.sort_by(|a, b| a.name.cmp(&b.name));
    list.unreadable.sort_by(|a, b| a.name.cmp(&b.name));
    list
}

fn read_row((name, url, backfill_from, version, started_at, last_seen): Row) -> Result<Node, String> {
    let name = name.parse::<NodeName>().map_err(|error| error.to_string())?;
    let url = url.map(|url| Url::parse(&url)).transpose().map_err(|error| format!("its url is none: {error}"))?;
    if url.as_ref().is_some_and(|url| !matches!(url.scheme(), "http" | "https")) {
        return Err("its url is not http or https".into());
    }
    Ok(Node {
        name,
        url,
        backfill_from,
        version,
        started_at: started_at.map(Timestamp::from_micros),
        last_seen: last_seen.map(Timestamp::from_micros),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_that_is_no_node_hides_no_other() {
        let row = |name: &str, url: Option<&str>| (name.into(), url.map(Into::into), true, None, None, None);
        let list = read_rows(vec![
            row("b", Some("http://b:8000")),
            row("../etc", None),
            row("c", Some("file:///etc/passwd")),
            row("d", Some("no url")),
            row("a", None),
        ]);
        assert_eq!(list.nodes.iter().map(|node| node.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(list.unreadable.iter().map(|row| row.name.as_str()).collect::<Vec<_>>(), ["../etc", "c", "d"]);
    }
}
