//! Which database a node keeps its cut jobs in.
//!
//! Promises: the password is held apart from the address, so that the address can be printed.
//! Never: opens it.

use std::fmt;
use std::path::PathBuf;

use url::Url;

use super::fault::quoted;
use super::values::{Secret, Setting};

/// Where cut jobs are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Database {
    /// An SQLite file, as an absolute path.
    Sqlite(PathBuf),
    Postgres(Postgres),
}

/// A PostgreSQL server and database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Postgres {
    pub address: PostgresAddress,
    pub password: Option<Secret>,
}

impl Postgres {
    /// The connection URL with the password in it, for the driver alone.
    pub fn expose_url(&self) -> Secret {
        let mut url = self.address.0.clone();
        if let Some(password) = &self.password {
            // The crate url would leave a percent sign as it is, and libpq would decode it.
            let encoded = percent_encoding::utf8_percent_encode(password.expose(), percent_encoding::NON_ALPHANUMERIC);
            // Refused only for a URL without a host; then the query carries it, as libpq allows.
            if url.set_password(Some(&encoded.to_string())).is_err() {
                url.query_pairs_mut().append_pair("password", password.expose());
            }
        }
        Secret::new(url.as_str())
    }
}

/// A `postgres://` URL without a password.
#[derive(Clone, PartialEq, Eq)]
pub struct PostgresAddress(Url);

impl fmt::Display for PostgresAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str())
    }
}

impl fmt::Debug for PostgresAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// The `url` as it is written; a relative SQLite path is not resolved yet.
#[derive(Clone)]
pub(super) enum DatabaseUrl {
    Sqlite(PathBuf),
    Postgres { address: PostgresAddress, password: Option<Secret> },
}

impl Setting for DatabaseUrl {
    const ALLOWED: &'static str = "write sqlite:PATH (relative to DIR/.segvault) or postgres://USER@HOST/DATABASE";

    fn read(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            Some(("sqlite", path)) => read_sqlite(path),
            Some(("postgres" | "postgresql", _)) => read_postgres(text),
            // A text that is no URL of ours may still hold a password: it is not repeated.
            _ => Err("not the URL of a database that we know".into()),
        }
    }

    fn shown(&self) -> String {
        match self {
            DatabaseUrl::Sqlite(path) => format!("sqlite:{}", path.display()),
            DatabaseUrl::Postgres { address, password: None } => address.to_string(),
            DatabaseUrl::Postgres { address, password: Some(_) } => {
                let mut url = address.0.clone();
                // Cannot be refused: a password was read from this very place.
                let _ = url.set_password(Some("***"));
                url.into()
            }
        }
    }
}

fn read_sqlite(path: &str) -> Result<DatabaseUrl, String> {
    if path.is_empty() || path.starts_with("//") || path.chars().any(char::is_control) {
        return Err(format!("{} is no path to an SQLite file", quoted(path)));
    }
    // Each pooled connection would have a database of its own, and a restart would forget them all.
    if path.starts_with(':') {
        return Err("a database in memory keeps nothing".into());
    }
    Ok(DatabaseUrl::Sqlite(path.into()))
}

fn read_postgres(text: &str) -> Result<DatabaseUrl, String> {
    let mut url = Url::parse(text).map_err(|err| format!("not a URL ({err})"))?;
    if !text.contains("://") {
        return Err("the scheme is not followed by ://".into());
    }
    if url.query_pairs().any(|(name, _)| name.contains("password")) {
        return Err(
            "a password in the query would be printed; put it before the @, or into database.password_file".into()
        );
    }
    let password = url
        .password()
        .map(|password| percent_encoding::percent_decode_str(password).decode_utf8().map(|text| Secret::new(&text)));
    let password = password.transpose().map_err(|_| "the password is not UTF-8".to_owned())?;
    // Cannot be refused: only a URL without a host refuses, and that one has no password to remove.
    let _ = url.set_password(None);
    Ok(DatabaseUrl::Postgres { address: PostgresAddress(url), password })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn postgres(text: &str) -> Postgres {
        match DatabaseUrl::read(text).unwrap() {
            DatabaseUrl::Postgres { address, password } => Postgres { address, password },
            DatabaseUrl::Sqlite(path) => panic!("{path:?}"),
        }
    }

    #[test]
    fn a_password_is_taken_out_and_put_back() {
        let text = "postgres://me:p%40ss%2Fw@db:5433/vault?connect_timeout=5";
        let database = postgres(text);
        assert_eq!(database.address.to_string(), "postgres://me@db:5433/vault?connect_timeout=5");
        assert_eq!(database.password.as_ref().unwrap().expose(), "p@ss/w");
        assert_eq!(database.expose_url().expose(), text);
        assert_eq!(DatabaseUrl::read(text).unwrap().shown(), "postgres://me:***@db:5433/vault?connect_timeout=5");
        let debug = format!("{database:?}{:?}", database.expose_url());
        assert!(!debug.contains("p@ss") && !debug.contains("p%40"), "{debug}");
    }

    #[test]
    fn a_percent_sign_in_a_password_survives() {
        let database = Postgres { password: Some(Secret::new("50%25")), ..postgres("postgres://me@db/vault") };
        assert_eq!(postgres(database.expose_url().expose()).password.unwrap().expose(), "50%25");
    }

    #[test]
    fn a_server_behind_a_socket_gets_its_password_in_the_query() {
        let database =
            Postgres { password: Some(Secret::new("a&b")), ..postgres("postgres:///db?host=/run/postgresql") };
        assert_eq!(database.expose_url().expose(), "postgres:///db?host=/run/postgresql&password=a%26b");
    }

    #[test]
    fn what_is_no_database_is_refused_without_repeating_it() {
        for bad in [
            "",
            "segvault.db",
            "sqlite:",
            "sqlite::memory:",
            "sqlite:///x",
            "mysql://u:hunter2@h/d",
            "postgres:u:hunter2@h",
            "postgres://u:hunter2@h:99999/d",
            "postgres://h/d?password=hunter2",
            "u:hunter2@h",
        ] {
            let problem = DatabaseUrl::read(bad).err().unwrap_or_else(|| panic!("{bad}"));
            assert!(!problem.contains("hunter2"), "{problem}");
        }
    }
}
