//! People and their roles.

use diesel::prelude::*;
use diesel::upsert::excluded;

use super::conn::{DbConnection, on_engine};
use super::error::DbError;
use super::handle::Db;
use super::schema::users;
use crate::model::{Email, Roles};

/// Somebody with roles.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    pub email: Email,
    pub name: String,
    pub roles: Roles,
}

#[derive(Clone, Insertable)]
#[diesel(table_name = users)]
struct NewRow {
    email: String,
    name: String,
    roles: String,
}

type Row = (String, String, String);

impl Db {
    /// Keeps somebody's name and roles, new or again.
    pub async fn keep_user(&self, user: &User) -> Result<(), DbError> {
        let row = NewRow { email: user.email.to_string(), name: user.name.clone(), roles: user.roles.to_string() };
        self.write(move |conn| Ok(upsert(conn, &row)?)).await
    }

    pub async fn user(&self, email: &Email) -> Result<Option<User>, DbError> {
        let email = email.to_string();
        let row: Option<Row> = self.run(move |conn| Ok(users::table.find(email).first(conn).optional()?)).await?;
        row.map(read).transpose()
    }

    /// Everybody, by address.
    pub async fn users(&self) -> Result<Vec<User>, DbError> {
        let rows: Vec<Row> = self.run(|conn| Ok(users::table.load(conn)?)).await?;
        let mut users = rows.into_iter().map(read).collect::<Result<Vec<User>, DbError>>()?;
        users.sort_by(|a, b| a.email.cmp(&b.email));
        Ok(users)
    }

    /// Takes all roles away; `false` if there was nobody of that address.
    pub async fn remove_user(&self, email: &Email) -> Result<bool, DbError> {
        let email = email.to_string();
        self.write(move |conn| Ok(diesel::delete(users::table.find(&email)).execute(conn)? == 1)).await
    }
}

fn upsert(conn: &mut DbConnection, row: &NewRow) -> QueryResult<()> {
    on_engine!(conn, |conn| {
        diesel::insert_into(users::table)
            .values(row.clone())
            .on_conflict(users::email)
            .do_update()
            .set((users::name.eq(excluded(users::name)), users::roles.eq(excluded(users::roles))))
            .execute(conn)
    })?;
    Ok(())
}

fn read((email, name, roles): Row) -> Result<User, DbError> {
    let unreadable = |why: String| DbError::Unreadable { what: format!("user {email:?}"), why };
    Ok(User {
        roles: roles.parse().map_err(|error: crate::model::BadRole| unreadable(error.to_string()))?,
        email: email.parse().map_err(|error: crate::model::BadEmail| unreadable(error.to_string()))?,
        name,
    })
}
