//! Who somebody is, and whether they may do what they ask for.
//!
//! Promises: a token is compared by its hash, in the same time whatever it is; whoever fails too often is not compared any
//! more for a while; nothing here prints a token.
//! Never: speaks HTTP; waits.

mod failures;

use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use crate::config::{AuthConfig, AuthMode, StaticToken};
use crate::model::{Email, Role, Roles};
use failures::Failures;

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
    #[error("the role {0} is needed")]
    TooLow(Role),
    #[error("too many tokens were wrong; try again in {} s", .0.as_secs())]
    TooMany(Duration),
}

/// The door to what is not open to everybody. Cheap to clone; clones share what is known of failures.
#[derive(Clone)]
pub struct Door(Arc<Inner>);

struct Inner {
    mode: AuthMode,
    tokens: Vec<StaticToken>,
    failures: Mutex<Failures>,
}

impl fmt::Debug for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Door").field("mode", &self.0.mode).field("tokens", &self.0.tokens.len()).finish_non_exhaustive()
    }
}

impl Door {
    pub fn new(config: &AuthConfig) -> Self {
        let failures = Mutex::new(Failures::default());
        Self(Arc::new(Inner { mode: config.mode, tokens: config.tokens.clone(), failures }))
    }

    /// Whether anybody has a token that opens something.
    pub fn has_tokens(&self) -> bool {
        self.0.mode == AuthMode::Tokens && !self.0.tokens.is_empty()
    }

    /// Who has this token and may do what needs `needed`.
    pub fn admit(
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
        let mut failures = self.0.failures.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(wait) = failures.closed_for(from, now) {
            return Err(Denied::TooMany(wait));
        }
        let Some(identity) = self.find(token) else {
            failures.count(from, now);
            return Err(Denied::BadToken);
        };
        drop(failures);
        if identity.roles.allow(needed) { Ok(identity) } else { Err(Denied::TooLow(needed)) }
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
}

#[cfg(test)]
mod tests {
    use super::*;

    fn door(mode: AuthMode) -> Door {
        let token = |email: &str, roles: &str, token: &str| StaticToken {
            email: email.parse().unwrap(),
            roles: roles.parse().unwrap(),
            hash: Sha256::digest(token).into(),
        };
        Door::new(&AuthConfig { mode, tokens: vec![token("ann", "editor", "one"), token("bob", "operator", "two")] })
    }

    #[test]
    fn a_token_opens_what_its_roles_allow() {
        let (door, now) = (door(AuthMode::Tokens), Instant::now());
        let admit = |token: Option<&str>, role| door.admit(token, None, role, now);
        assert_eq!(admit(Some("one"), Role::Editor).unwrap().email.as_str(), "ann");
        assert_eq!(admit(Some("one"), Role::Artist), Err(Denied::TooLow(Role::Artist)));
        assert_eq!(admit(Some("two"), Role::Artist).unwrap().email.as_str(), "bob");
        assert_eq!(admit(None, Role::Reader), Err(Denied::NoToken));
        assert_eq!(admit(Some(""), Role::Reader), Err(Denied::NoToken));
        for wrong in ["One", "one ", "three", "on"] {
            assert_eq!(admit(Some(wrong), Role::Reader), Err(Denied::BadToken));
        }
    }

    #[test]
    fn who_guesses_waits_and_nobody_else_does() {
        let (door, now) = (door(AuthMode::Tokens), Instant::now());
        let (guesser, other) = (Some([10, 0, 0, 1].into()), Some([10, 0, 0, 2].into()));
        let mut refused = 0;
        while door.admit(Some("wrong"), guesser, Role::Editor, now) == Err(Denied::BadToken) {
            refused += 1;
        }
        assert!((5..50).contains(&refused), "{refused}");
        let Err(Denied::TooMany(wait)) = door.admit(Some("one"), guesser, Role::Editor, now) else { panic!() };
        assert!(door.admit(Some("one"), other, Role::Editor, now).is_ok());
        assert!(door.admit(Some("one"), guesser, Role::Editor, now + wait).is_ok());
    }

    #[test]
    fn without_a_door_everybody_is_anyone() {
        let admitted = door(AuthMode::None).admit(None, None, Role::Operator, Instant::now()).unwrap();
        assert_eq!(admitted.email.as_str(), NOBODY);
    }

    #[test]
    fn what_is_printed_of_a_door_holds_no_hash() {
        let hash: [u8; 32] = Sha256::digest("one").into();
        assert!(!format!("{:?}", door(AuthMode::Tokens)).contains(&format!("{hash:?}")));
    }
}
