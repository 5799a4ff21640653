//! What nodes have spent of quotas that they share.

use diesel::prelude::*;
use diesel::upsert::excluded;

use super::conn::on_engine;
use super::error::DbError;
use super::handle::Db;
use super::schema::quota_spent;
use crate::model::QuotaSpent;

/// Days that are over are of no use.
const KEPT_DAYS: i64 = 7;

#[derive(Clone, Insertable)]
#[diesel(table_name = quota_spent)]
struct Row {
    project: String,
    day: i64,
    inserts: i64,
    units: i64,
}

impl Db {
    /// Adds to what was spent of a project on a day, and says what all have spent of it by now. A call that failed may have
    /// added nonetheless.
    pub async fn add_quota(&self, project: &str, day: i64, more: QuotaSpent) -> Result<QuotaSpent, DbError> {
        let project = project.to_owned();
        self.write(move |conn| {
            let known: Option<(i64, i64)> = quota_spent::table
                .find((&project, day))
                .select((quota_spent::inserts, quota_spent::units))
                .first(conn)
                .optional()?;
            let total = known.map_or(QuotaSpent::NOTHING, |(inserts, units)| read(inserts, units)).plus(more);
            if more == QuotaSpent::NOTHING {
                return Ok(total);
            }
            let (inserts, units) = (i64::from(total.inserts), i64::from(total.units));
            let row = Row { project: project.clone(), day, inserts, units };
            on_engine!(conn, |conn| {
                diesel::insert_into(quota_spent::table)
                    .values(row.clone())
                    .on_conflict((quota_spent::project, quota_spent::day))
                    .do_update()
                    .set((
                        quota_spent::inserts.eq(excluded(quota_spent::inserts)),
                        quota_spent::units.eq(excluded(quota_spent::units)),
                    ))
                    .execute(conn)
            })?;
            let is_over = quota_spent::day.lt(day - KEPT_DAYS);
            diesel::delete(quota_spent::table.filter(quota_spent::project.eq(&project)).filter(is_over))
                .execute(conn)?;
            Ok(total)
        })
        .await
    }
}

fn read(inserts: i64, units: i64) -> QuotaSpent {
    let whole = |count: i64| u32::try_from(count).unwrap_or(u32::MAX);
    QuotaSpent { inserts: whole(inserts), units: whole(units) }
}
