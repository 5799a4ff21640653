//! What people may: by the configuration, and by the database's table of users.
//!
//! Promises: a question waits for the database for a moment at most, and not at all for somebody who asked a moment ago; while
//! the database is down, roles that were known shortly before still hold.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::time::timeout;

use crate::config::Person;
use crate::db::Db;
use crate::model::{Email, Roles};

/// A role that is given or taken counts after this.
const FRESH: Duration = Duration::from_secs(10);
/// How long roles hold that cannot be asked for again: a night of a database that is down.
const LAST_KNOWN: Duration = Duration::from_secs(12 * 3600);
const ASK_WITHIN: Duration = Duration::from_secs(3);
/// With more of them, who was asked for longest ago is forgotten.
const MOST_PEOPLE: usize = 4096;

pub struct People {
    configured: Vec<Person>,
    db: Db,
    known: Mutex<HashMap<Email, Known>>,
}

#[derive(Debug, Clone, Copy)]
struct Known {
    /// Of the database alone.
    roles: Roles,
    since: Instant,
}

impl People {
    pub fn new(configured: Vec<Person>, db: Db) -> Self {
        Self { configured, db, known: Mutex::default() }
    }

    /// None where somebody has none; `None` where that cannot be known.
    pub async fn roles_of(&self, email: &Email, now: Instant) -> Option<Roles> {
        let configured = self.configured.iter().filter(|person| person.email == *email);
        let configured = configured.fold(Roles::default(), |roles, person| roles.and(person.roles));
        let in_database = self.in_database(email, now).await;
        // Who is configured may come in without the database, with those roles.
        let without = (configured != Roles::default()).then_some(configured);
        in_database.map_or(without, |roles| Some(roles.and(configured)))
    }

    async fn in_database(&self, email: &Email, now: Instant) -> Option<Roles> {
        let known = self.known().get(email).copied();
        let younger_than =
            |age: Duration| known.filter(|known| now.saturating_duration_since(known.since) < age).map(|it| it.roles);
        if let Some(roles) = younger_than(FRESH) {
            return Some(roles);
        }
        match timeout(ASK_WITHIN, self.db.user(email)).await {
            Ok(Ok(user)) => {
                let roles = user.map_or(Roles::default(), |user| user.roles);
                self.keep(email, Known { roles, since: now });
                Some(roles)
            }
            Ok(Err(_)) | Err(_) => younger_than(LAST_KNOWN),
        }
    }

    fn keep(&self, email: &Email, person: Known) {
        let mut known = self.known();
        if known.len() >= MOST_PEOPLE && !known.contains_key(email) {
            let oldest = known.iter().min_by_key(|(_, known)| known.since).map(|(email, _)| email.clone());
            oldest.map(|oldest| known.remove(&oldest));
        }
        known.insert(email.clone(), person);
    }

    fn known(&self) -> MutexGuard<'_, HashMap<Email, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Database;
    use crate::db::User;

    fn email(text: &str) -> Email {
        text.parse().unwrap()
    }

    fn roles(text: &str) -> Option<Roles> {
        Some(text.parse().unwrap())
    }

    #[tokio::test]
    async fn roles_outlast_a_database_that_is_down_for_a_while() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("db");
        std::fs::create_dir(&place).unwrap();
        let db = Db::new(&Database::Sqlite(place.join("segvault.db")));
        db.migrate().await.unwrap();
        let ann = User { email: email("ann@x.org"), name: String::new(), roles: "editor".parse().unwrap() };
        db.keep_user(&ann).await.unwrap();
        let configured = ["ann@x.org artist", "bob@x.org reader", "bob@x.org editor"];
        let configured = configured.map(|text| crate::config::Setting::read(text).unwrap()).into();
        let people = People::new(configured, db.clone());
        let now = Instant::now();
        assert_eq!(people.roles_of(&email("ann@x.org"), now).await, roles("editor,artist"));
        assert_eq!(people.roles_of(&email("bob@x.org"), now).await, roles("reader,editor"));
        assert_eq!(people.roles_of(&email("eve@x.org"), now).await, Some(Roles::default()));

        db.keep_user(&User { roles: "operator".parse().unwrap(), ..ann }).await.unwrap();
        assert_eq!(people.roles_of(&email("ann@x.org"), now).await, roles("editor,artist"), "it is remembered");
        assert_eq!(people.roles_of(&email("ann@x.org"), now + FRESH).await, roles("artist,operator"));

        // Now it is where no database can be.
        let nowhere = Db::new(&Database::Sqlite(dir.path().join("absent/segvault.db")));
        let people = People { db: nowhere, ..people };
        assert_eq!(people.roles_of(&email("ann@x.org"), now + 2 * FRESH).await, roles("artist,operator"));
        let too_late = now + FRESH + LAST_KNOWN;
        assert_eq!(people.roles_of(&email("ann@x.org"), too_late).await, roles("artist"), "of the configuration");
        assert_eq!(people.roles_of(&email("eve@x.org"), too_late).await, None);
        assert_eq!(people.roles_of(&email("new@x.org"), now).await, None);
    }

    #[test]
    fn people_are_never_too_many() {
        let people = People::new(Vec::new(), Db::new(&Database::Sqlite("/nowhere/x.db".into())));
        let now = Instant::now();
        for number in 0..MOST_PEOPLE as u64 + 10 {
            let since = now + Duration::from_millis(number);
            people.keep(&email(&format!("{number}@x.org")), Known { roles: Roles::ALL, since });
        }
        assert_eq!(people.known().len(), MOST_PEOPLE);
        assert!(!people.known().contains_key(&email("9@x.org")) && people.known().contains_key(&email("10@x.org")));
    }
}
