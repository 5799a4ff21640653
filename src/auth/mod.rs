//! Who somebody is, and whether they may do what they ask for.
//!
//! Promises: a token is compared by its hash, in the same time whatever it is; whoever fails too often is not compared any
//! more for a while; nothing here prints a token. What waits (for an issuer's keys, for the database) waits for seconds.
//! Never: speaks HTTP with who asks.

mod failures;
mod id_token;
mod issuer;
mod keys;
mod link;
mod people;

use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};
use slog::Logger;
use url::Url;

use crate::clock::Clock;
use crate::config::{Audience, AuthConfig, AuthMode, OidcConfig, StaticToken};
use crate::db::Db;
use crate::model::{Email, Role, Roles};
use failures::Failures;
pub use id_token::Unfit;
use id_token::Unverified;
pub use issuer::KeyShelf;
use issuer::{Judgement, KnownIssuer};
pub use link::{LinkKey, SignedLink};
use people::People;

/// Whom a change is put down to where nobody is asked who they are.
const NOBODY: &str = "anyone";

/// Somebody who may do what they asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    pub email: Email,
    pub roles: Roles,
}

/// Why somebody may not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    #[error("a token is needed")]
    NoToken,
    #[error("the token is not valid")]
    BadToken,
    #[error("the token is signed with a key that its issuer does not have")]
    UnknownKey,
    #[error(transparent)]
    Unfit(#[from] Unfit),
    #[error("the role {0} is needed")]
    TooLow(Role),
    #[error("too many tokens were wrong; try again in {} s", .0.as_secs())]
    TooMany(Duration),
    #[error("who signed the token cannot be asked for its keys; try again later")]
    NoKeys,
    #[error("the database does not answer, and what this person may is not known from before")]
    RolesUnknown,
}

/// The door to what is not open to everybody. Cheap to clone; clones share what is known of failures, keys and people.
#[derive(Clone)]
pub struct Door(Arc<Inner>);

struct Inner {
    mode: AuthMode,
    tokens: Vec<StaticToken>,
    id_tokens: Option<IdTokens>,
    failures: Mutex<Failures>,
}

/// An issuer's page on which people log in, for the node's own page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoginPage {
    pub issuer: String,
    /// Whom the tokens are for.
    pub client_id: String,
    pub address: Url,
}

/// How ID tokens are judged.
struct IdTokens {
    issuers: Vec<KnownIssuer>,
    audiences: Vec<Audience>,
    people: People,
    clock: Clock,
}

impl fmt::Debug for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Door").field("mode", &self.0.mode).field("tokens", &self.0.tokens.len()).finish_non_exhaustive()
    }
}

impl Door {
    pub fn new(config: &AuthConfig, db: Db, clock: Clock, log: &Logger) -> Self {
        let failures = Mutex::new(Failures::default());
        let id_tokens = config.oidc.as_ref().map(|oidc| IdTokens::new(oidc, db, clock, log));
        Self(Arc::new(Inner { mode: config.mode, tokens: config.tokens.clone(), id_tokens, failures }))
    }

    /// Fetches issuers' keys for as long as the arbiter runs on which this is called.
    pub fn keep(&self, shelf: &KeyShelf) {
        for issuer in self.0.id_tokens.iter().flat_map(|id_tokens| &id_tokens.issuers) {
            actix_rt::spawn(issuer.clone().keep(shelf.clone()));
        }
    }

    /// Whether anybody has a token that opens something.
    pub fn has_tokens(&self) -> bool {
        match self.0.mode {
            AuthMode::None => false,
            AuthMode::Tokens => !self.0.tokens.is_empty(),
            AuthMode::Oidc => true,
        }
    }

    pub fn mode(&self) -> AuthMode {
        self.0.mode
    }

    /// Of those issuers that have told where it is. The first client id is that of the node's own page.
    pub fn login_pages(&self) -> Vec<LoginPage> {
        let Some(id_tokens) = &self.0.id_tokens else { return Vec::new() };
        let Some(client_id) = id_tokens.audiences.first() else { return Vec::new() };
        let told = id_tokens.issuers.iter().filter_map(|issuer| Some((issuer.name(), issuer.page()?)));
        told.map(|(issuer, address)| LoginPage {
            issuer: issuer.to_owned(),
            client_id: client_id.as_str().to_owned(),
            address,
        })
        .collect()
    }

    /// Who has this token and may do what needs `needed`.
    pub async fn admit(
        &self,
        token: Option<&str>,
        from: Option<IpAddr>,
        needed: Role,
        now: Instant,
    ) -> Result<Identity, Denied> {
        if self.0.mode == AuthMode::None {
            let email = NOBODY.parse().expect("it is a word");
            return Ok(Identity { email, roles: Roles::ALL });
        }
        let token = token.filter(|token| !token.is_empty()).ok_or(Denied::NoToken)?;
        if let Some(wait) = self.failures().closed_for(from, now) {
            return Err(Denied::TooMany(wait));
        }
        let identity = match self.find(token) {
            Some(identity) => Ok(identity),
            None => self.read(token, now).await,
        };
        if identity == Err(Denied::BadToken) {
            // Pages go on sending a token that has expired, which is no guess.
            self.failures().count(from, now);
        }
        let identity = identity?;
        if identity.roles.allow(needed) { Ok(identity) } else { Err(Denied::TooLow(needed)) }
    }

    fn failures(&self) -> MutexGuard<'_, Failures> {
        self.0.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at all tokens, also behind the one that fits, and at all bytes of each.
    fn find(&self, token: &str) -> Option<Identity> {
        let hash: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        let mut found = None;
        for known in &self.0.tokens {
            let differing = known.hash.iter().zip(hash).fold(0, |all, (a, b)| all | (a ^ b));
            if std::hint::black_box(differing) == 0 {
                found = Some(Identity { email: known.email.clone(), roles: known.roles });
            }
        }
        found
    }

    /// Takes it for an ID token, where there may be any.
    async fn read(&self, token: &str, now: Instant) -> Result<Identity, Denied> {
        let id_tokens = self.0.id_tokens.as_ref().ok_or(Denied::BadToken)?;
        id_tokens.owner(Unverified::read(token).ok_or(Denied::BadToken)?, now).await
    }
}

impl IdTokens {
    fn new(config: &OidcConfig, db: Db, clock: Clock, log: &Logger) -> Self {
        let issuers = config.issuers.iter().map(|issuer| KnownIssuer::new(issuer.clone(), log.clone()));
        Self {
            issuers: issuers.collect(),
            audiences: config.client_ids.clone(),
            people: People::new(config.people.clone(), db),
            clock,
        }
    }

    async fn owner(&self, token: Unverified<'_>, now: Instant) -> Result<Identity, Denied> {
        let issuer = self.issuers.iter().find(|issuer| token.is_from(issuer.name())).ok_or(Denied::BadToken)?;
        match issuer.judge(&token).await {
            Judgement::Signed => {}
            Judgement::Forged => return Err(Denied::BadToken),
            Judgement::UnknownKey => return Err(Denied::UnknownKey),
            Judgement::NoKeys => return Err(Denied::NoKeys),
        }
        let email = token.owner(&self.audiences, self.clock.now())?;
        let roles = self.people.roles_of(&email, now).await.ok_or(Denied::RolesUnknown)?;
        Ok(Identity { email, roles })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Reading;

    fn door(mode: AuthMode) -> Door {
        let token = |email: &str, roles: &str, token: &str| StaticToken {
            email: email.parse().unwrap(),
            roles: roles.parse().unwrap(),
            hash: Sha256::digest(token).into(),
        };
        let tokens = vec![token("ann", "editor", "one"), token("bob", "operator", "two")];
        let db = Db::new(&crate::config::Database::Sqlite("/nowhere/x.db".into()));
        let log = Logger::root(slog::Discard, slog::o!());
        let (read, metrics) = (Reading::Open, Reading::Open);
        let config = AuthConfig { mode, tokens, oidc: None, read, metrics, link_key: None, origins: Vec::new() };
        Door::new(&config, db, Clock::system(), &log)
    }

    #[tokio::test]
    async fn a_token_opens_what_its_roles_allow() {
        let (door, now) = (door(AuthMode::Tokens), Instant::now());
        let admit = async |token: Option<&str>, role| door.admit(token, None, role, now).await;
        assert_eq!(admit(Some("one"), Role::Editor).await.unwrap().email.as_str(), "ann");
        assert_eq!(admit(Some("one"), Role::Artist).await, Err(Denied::TooLow(Role::Artist)));
        assert_eq!(admit(Some("two"), Role::Artist).await.unwrap().email.as_str(), "bob");
        assert_eq!(admit(None, Role::Reader).await, Err(Denied::NoToken));
        assert_eq!(admit(Some(""), Role::Reader).await, Err(Denied::NoToken));
        for wrong in ["One", "one ", "three", "on"] {
            assert_eq!(admit(Some(wrong), Role::Reader).await, Err(Denied::BadToken));
        }
    }

    #[tokio::test]
    async fn who_guesses_waits_and_nobody_else_does() {
        let (door, now) = (door(AuthMode::Tokens), Instant::now());
        let (guesser, other) = (Some([10, 0, 0, 1].into()), Some([10, 0, 0, 2].into()));
        let mut refused = 0;
        while door.admit(Some("wrong"), guesser, Role::Editor, now).await == Err(Denied::BadToken) {
            refused += 1;
        }
        assert!((5..50).contains(&refused), "{refused}");
        let Err(Denied::TooMany(wait)) = door.admit(Some("one"), guesser, Role::Editor, now).await else { panic!() };
        assert!(door.admit(Some("one"), other, Role::Editor, now).await.is_ok());
        assert!(door.admit(Some("one"), guesser, Role::Editor, now + wait).await.is_ok());
    }

    #[tokio::test]
    async fn without_a_door_everybody_is_anyone() {
        let admitted = door(AuthMode::None).admit(None, None, Role::Operator, Instant::now()).await.unwrap();
        assert_eq!(admitted.email.as_str(), NOBODY);
    }

    #[test]
    fn what_is_printed_of_a_door_holds_no_hash() {
        let hash: [u8; 32] = Sha256::digest("one").into();
        assert!(!format!("{:?}", door(AuthMode::Tokens)).contains(&format!("{hash:?}")));
    }
}
