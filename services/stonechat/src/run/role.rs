//! What a process does.

use std::collections::BTreeSet;

/// A part of the platform that can be a process of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Role {
    /// Every role.
    All,
    /// Client connections.
    Gateway,
    /// REST and gRPC for tenants and the operator.
    Api,
    /// Takes commands, decides them and tells everybody.
    Router,
    /// Where users are.
    Presence,
    /// Every durable row.
    Storage,
    /// Delivers tenants' webhooks.
    Webhooks,
    /// Files: uploads and downloads.
    Files,
}

/// The roles of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Roles(BTreeSet<Role>);

impl Roles {
    const EACH: [Role; 7] =
        [Role::Gateway, Role::Api, Role::Router, Role::Presence, Role::Storage, Role::Webhooks, Role::Files];

    /// The roles that were asked for; all of them where none was.
    pub fn new(asked: &[Role]) -> Self {
        if asked.is_empty() || asked.contains(&Role::All) {
            return Self(Self::EACH.into());
        }
        Self(asked.iter().copied().collect())
    }

    /// Whether a role is among them.
    pub fn has(&self, role: Role) -> bool {
        self.0.contains(&role)
    }

    /// Whether all of them are among these.
    pub fn are_among(&self, these: &[Role]) -> bool {
        self.0.iter().all(|role| these.contains(role))
    }

    /// Whether no role is missing.
    pub fn are_all(&self) -> bool {
        self.0.len() == Self::EACH.len()
    }

    /// Their names, for people and for traces.
    pub fn name(&self) -> String {
        if self.are_all() {
            return "all".to_owned();
        }
        let names: Vec<String> = self.0.iter().map(|role| format!("{role:?}").to_lowercase()).collect();
        names.join("-")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_asked_for_is_everything() {
        assert!(Roles::new(&[]).are_all());
        assert!(Roles::new(&[Role::Gateway, Role::All]).are_all());
        let two = Roles::new(&[Role::Storage, Role::Gateway]);
        assert!(two.has(Role::Gateway) && two.has(Role::Storage) && !two.has(Role::Router) && !two.are_all());
        assert_eq!(two.name(), "gateway-storage");
    }
}
