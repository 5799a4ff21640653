//! What destinations have spent of their quotas, in the database: nodes that share a project see each other's, and a restart
//! forgets nothing.

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use slog::{Logger, debug};

use crate::causes::chain;
use crate::db::Db;
use crate::model::QuotaSpent;
use crate::upload::QuotaBook;

pub struct SharedQuota {
    pub db: Db,
    pub log: Logger,
}

impl QuotaBook for SharedQuota {
    fn add<'a>(&'a self, project: &'a str, day: i64, more: QuotaSpent) -> BoxFuture<'a, Option<QuotaSpent>> {
        async move {
            match self.db.add_quota(project, day, more).await {
                Ok(total) => Some(total),
                Err(error) => {
                    // It is told with the next one.
                    debug!(self.log, "a quota is counted by this node alone for now"; "error" => chain(&error));
                    None
                }
            }
        }
        .boxed()
    }
}
