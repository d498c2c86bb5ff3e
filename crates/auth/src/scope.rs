//! What a server key may do.

use std::fmt;

/// One of the things that a server key may be for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// Reading everything of the tenant.
    Read,
    /// Changing users, conversations and messages.
    Write,
    /// Keys, settings, exports, erasure.
    Admin,
}

impl Scope {
    /// Every scope.
    pub const ALL: [Self; 3] = [Self::Read, Self::Write, Self::Admin];

    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Admin => "admin",
        }
    }

    /// The scope of a name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == name)
    }

    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Scopes of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scopes(u8);

impl Scopes {
    /// Every scope.
    pub const ALL: Self = Self(Scope::Read.bit() | Scope::Write.bit() | Scope::Admin.bit());

    /// These scopes; of none that is said: all of them, as keys had that were made before there were scopes. A name that
    /// is none of ours gives nothing.
    pub fn of_names<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        let mut names = names.into_iter().peekable();
        if names.peek().is_none() {
            return Self::ALL;
        }
        Self(names.filter_map(Scope::from_name).fold(0, |bits, scope| bits | scope.bit()))
    }

    /// Whether a scope is among them.
    pub fn has(self, scope: Scope) -> bool {
        self.0 & scope.bit() != 0
    }

    /// Their names.
    pub fn names(self) -> Vec<String> {
        Scope::ALL.into_iter().filter(|scope| self.has(*scope)).map(|scope| scope.to_string()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_the_scopes_it_was_given_and_no_other() {
        let read = Scopes::of_names(["read"]);
        assert!(read.has(Scope::Read) && !read.has(Scope::Write) && !read.has(Scope::Admin));
        assert_eq!(Scopes::of_names([]), Scopes::ALL);
        assert_eq!(Scopes::of_names(["root"]).names(), Vec::<String>::new());
        assert_eq!(Scopes::of_names(["admin", "read"]).names(), ["read", "admin"]);
    }
}
