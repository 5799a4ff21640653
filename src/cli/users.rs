//! `segvault users`: who may do what, in the database of the configuration, with no node running.

use std::io::{self, Write};

use anyhow::{Context as _, anyhow};
use serde_json::json;

use super::config::{ConfigArgs, EXIT_OK};
use super::db::advice;
use super::{EXIT_FAILED, Failure};
use crate::causes::chain;
use crate::db::{Db, DbError, User};
use crate::model::{Email, Roles};

/// What to do with people.
#[derive(Debug, clap::Subcommand)]
pub enum UsersCommand {
    /// List everybody with a role.
    List {
        /// Print JSON.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        config: ConfigArgs,
    },
    /// Give somebody these roles, and no others. Nodes know within seconds.
    Set {
        /// The address, as the issuer of tokens knows it.
        email: Email,
        /// Some of reader, editor, artist and operator, with commas.
        roles: Roles,
        /// What they are called.
        #[arg(long, default_value = "")]
        name: String,
        #[command(flatten)]
        config: ConfigArgs,
    },
    /// Take all roles from somebody.
    Remove {
        /// The address.
        email: Email,
        #[command(flatten)]
        config: ConfigArgs,
    },
}

impl UsersCommand {
    fn config(&self) -> &ConfigArgs {
        match self {
            Self::List { config, .. } | Self::Set { config, .. } | Self::Remove { config, .. } => config,
        }
    }
}

/// Runs the command. Blocks.
pub fn run(command: UsersCommand) -> Result<u8, Failure> {
    let database = command.config().load()?.config.database.database;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().context("cannot start")?;
    let db = Db::new(&database);
    let answer = runtime.block_on(answer(&db, command));
    // A thread that still waits for the server must not hold up the exit.
    runtime.shutdown_background();
    let answer = answer.map_err(|error| {
        let advice = advice(&error, db.engine());
        anyhow!("{} at {}: {}\n{advice}", db.engine(), db.address(), chain(&error))
    })?;
    let Some(text) = answer else { return Ok(EXIT_FAILED) };
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).context("cannot print")?;
    Ok(EXIT_OK)
}

/// `None` where there is nobody to remove.
async fn answer(db: &Db, command: UsersCommand) -> Result<Option<String>, DbError> {
    db.migrate().await?;
    Ok(Some(match command {
        UsersCommand::List { json: true, .. } => {
            let user = |user: &User| json!({ "email": user.email.as_str(), "name": user.name, "roles": user.roles.to_string() });
            format!("{}\n", json!(db.users().await?.iter().map(user).collect::<Vec<_>>()))
        }
        UsersCommand::List { json: false, .. } => db.users().await?.iter().map(line).collect(),
        UsersCommand::Set { email, roles, name, .. } => {
            let user = User { email, name, roles };
            db.keep_user(&user).await?;
            line(&user)
        }
        UsersCommand::Remove { email, .. } => {
            if !db.remove_user(&email).await? {
                eprintln!("segvault: {email} has no role");
                return Ok(None);
            }
            String::new()
        }
    }))
}

fn line(user: &User) -> String {
    let name = if user.name.is_empty() { String::new() } else { format!("  {}", user.name.escape_debug()) };
    format!("{:<40} {}{name}\n", user.email, user.roles)
}
