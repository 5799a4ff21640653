//! Who somebody is, and what they may do.

use std::fmt;
use std::str::FromStr;

/// What somebody may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Look at everything.
    Reader,
    /// Say what is cut, and cancel it.
    Editor,
    /// Keep thumbnail templates.
    Artist,
    /// All of it, and what concerns the node.
    Operator,
}

/// A text that is no role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a role is reader, editor, artist or operator")]
pub struct BadRole;

impl Role {
    pub const ALL: [Self; 4] = [Self::Reader, Self::Editor, Self::Artist, Self::Operator];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Reader => "reader",
            Self::Editor => "editor",
            Self::Artist => "artist",
            Self::Operator => "operator",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Role {
    type Err = BadRole;

    fn from_str(text: &str) -> Result<Self, BadRole> {
        Self::ALL.into_iter().find(|role| role.as_str() == text).ok_or(BadRole)
    }
}

/// Some roles, none twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct Roles(u8);

impl Roles {
    pub const ALL: Self = Self(0b1111);

    pub fn with(self, role: Role) -> Self {
        Self(self.0 | 1 << role as u8)
    }

    /// What either of both allows.
    pub fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    fn has(self, role: Role) -> bool {
        self.0 & (1 << role as u8) != 0
    }

    /// Whether these allow what needs `needed`: an operator may everything, and whoever has a role may look.
    pub fn allow(self, needed: Role) -> bool {
        self.has(needed) || self.has(Role::Operator) || (needed == Role::Reader && self != Self::default())
    }

    pub fn iter(self) -> impl Iterator<Item = Role> {
        Role::ALL.into_iter().filter(move |role| self.has(*role))
    }
}

impl fmt::Display for Roles {
    /// `editor,artist`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.iter().map(Role::as_str).collect();
        f.write_str(&names.join(","))
    }
}

impl FromStr for Roles {
    type Err = BadRole;

    fn from_str(text: &str) -> Result<Self, BadRole> {
        text.split(',').try_fold(Self::default(), |roles, role| Ok(roles.with(role.parse()?)))
    }
}

/// Whom a change is put down to: an address, or a word for somebody without one. In lower case, as it is compared.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Email(Box<str>);

/// A text that nobody is called by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("write an address or a word of 1 to 254 bytes, without blanks, commas and control characters")]
pub struct BadEmail;

/// RFC 5321 §4.5.3.1.3, without the brackets.
const MAX_EMAIL_BYTES: usize = 254;

impl Email {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Email {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Email {
    type Err = BadEmail;

    fn from_str(text: &str) -> Result<Self, BadEmail> {
        let is_odd = |c: char| c.is_control() || c.is_whitespace() || c == ',';
        if text.is_empty() || text.len() > MAX_EMAIL_BYTES || text.contains(is_odd) {
            return Err(BadEmail);
        }
        Ok(Self(text.to_lowercase().into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operator_may_everything_and_whoever_has_a_role_may_look() {
        let roles = |text: &str| text.parse::<Roles>().unwrap();
        for (has, may) in [
            ("reader", "reader"),
            ("editor", "reader,editor"),
            ("artist", "reader,artist"),
            ("editor,artist", "reader,editor,artist"),
            ("operator", "reader,editor,artist,operator"),
        ] {
            for role in Role::ALL {
                assert_eq!(roles(has).allow(role), roles(may).has(role), "{has} {role}");
            }
            assert_eq!(roles(has).to_string(), has);
        }
        assert!(Role::ALL.into_iter().all(|role| !Roles::default().allow(role) && Roles::ALL.allow(role)));
        assert!(
            "".parse::<Roles>().is_err() && "editor,".parse::<Roles>().is_err() && "root".parse::<Roles>().is_err()
        );
    }

    #[test]
    fn an_address_is_compared_in_lower_case() {
        assert_eq!("Ann@Example.org".parse::<Email>().unwrap().as_str(), "ann@example.org");
        for bad in ["", "a b", "a,b", "a\n", &"x".repeat(255)] {
            assert_eq!(bad.parse::<Email>(), Err(BadEmail), "{bad:?}");
        }
    }
}
