//! Tenant identity, as `X-Scope-OrgID` carries it.

use std::sync::Arc;

/// A tenant's name: 1 to 150 of the characters that Mimir and Loki allow.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TenantId(Arc<str>);

/// Why a tenant name was refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum TenantError {
    /// The name has no characters.
    #[error("X-Scope-OrgID is empty: name a tenant, or leave the header out for the tenant `default`")]
    Empty,
    /// The name is longer than 150 bytes.
    #[error("X-Scope-OrgID is {0} bytes long: a tenant name has at most 150")]
    TooLong(usize),
    /// The name has a character outside the allowed set.
    #[error("X-Scope-OrgID has the character {0:?}: a tenant name is made of letters, digits and ! - _ . * ' ( )")]
    Character(char),
    /// `.` and `..` would be path segments.
    #[error("X-Scope-OrgID is {0:?}, which is not a tenant name: use another")]
    Reserved(String),
}

impl TenantId {
    /// The tenant of callers that name none.
    pub fn default_tenant() -> Self {
        TenantId(Arc::from("default"))
    }

    /// Checks a name against Mimir's and Loki's rules (`X-Scope-OrgID` restrictions).
    pub fn new(name: &str) -> Result<Self, TenantError> {
        if name.is_empty() {
            return Err(TenantError::Empty);
        }
        if name.len() > 150 {
            return Err(TenantError::TooLong(name.len()));
        }
        if name == "." || name == ".." {
            return Err(TenantError::Reserved(name.to_owned()));
        }
        if let Some(c) = name.chars().find(|c| !(c.is_ascii_alphanumeric() || "!-_.*'()".contains(*c))) {
            return Err(TenantError::Character(c));
        }
        Ok(TenantId(Arc::from(name)))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for TenantId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for (name, expected) in [
            ("default", None),
            ("team-a_1.(x)", None),
            ("", Some(TenantError::Empty)),
            ("..", Some(TenantError::Reserved("..".into()))),
            ("a/b", Some(TenantError::Character('/'))),
            ("a|b", Some(TenantError::Character('|'))),
            ("봉화", Some(TenantError::Character('봉'))),
        ] {
            assert_eq!(TenantId::new(name).err(), expected, "{name}");
        }
        assert_eq!(TenantId::new(&"x".repeat(151)).err(), Some(TenantError::TooLong(151)));
    }
}
