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
    /// Several tenants where there is room for one.
    #[error("X-Scope-OrgID is {0:?}: what is written goes to one tenant, name only that one; several are for reading")]
    Several(String),
    /// More tenants than one read covers.
    #[error("X-Scope-OrgID names {0} tenants: one read covers at most {most}, split it", most = MOST_TENANTS)]
    TooMany(usize),
}

/// The tenants that one read may cover: each costs a look at every partition.
const MOST_TENANTS: usize = 64;

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

/// The tenants that a read covers, by name; never empty. Mostly one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TenantSet(Arc<[TenantId]>);

impl TenantSet {
    /// Reads `a` or, as Mimir, Loki and Tempo write several, `a|b`. A name that is there twice counts once.
    pub fn parse(text: &str) -> Result<Self, TenantError> {
        let mut tenants = text.split('|').map(TenantId::new).collect::<Result<Vec<_>, _>>()?;
        tenants.sort();
        tenants.dedup();
        if tenants.len() > MOST_TENANTS {
            return Err(TenantError::TooMany(tenants.len()));
        }
        Ok(TenantSet(tenants.into()))
    }

    /// The tenants, by name.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &TenantId> + Clone {
        self.0.iter()
    }

    /// The first by name: the only one, where a read covers one.
    pub fn first(&self) -> &TenantId {
        &self.0[0]
    }

    /// The only tenant. An error where there are several: what is written goes to one.
    pub fn only(&self) -> Result<&TenantId, TenantError> {
        match &*self.0 {
            [only] => Ok(only),
            _ => Err(TenantError::Several(self.to_string())),
        }
    }
}

impl From<&TenantId> for TenantSet {
    fn from(tenant: &TenantId) -> Self {
        TenantSet([tenant.clone()].into())
    }
}

impl From<&TenantSet> for TenantSet {
    fn from(tenants: &TenantSet) -> Self {
        tenants.clone()
    }
}

impl std::fmt::Display for TenantSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (at, tenant) in self.iter().enumerate() {
            f.write_str(if at == 0 { "" } else { "|" })?;
            f.write_str(tenant.as_str())?;
        }
        Ok(())
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

    #[test]
    fn sets() {
        for (text, expected) in [
            ("a", Ok("a")),
            ("b|a|b", Ok("a|b")),
            ("", Err(TenantError::Empty)),
            ("a|", Err(TenantError::Empty)),
            ("|", Err(TenantError::Empty)),
            ("a|..", Err(TenantError::Reserved("..".into()))),
            ("a|b c", Err(TenantError::Character(' '))),
        ] {
            assert_eq!(TenantSet::parse(text).map(|set| set.to_string()), expected.map(str::to_owned), "{text}");
        }
        let many = |count: usize| (0..count).map(|n| n.to_string()).collect::<Vec<_>>().join("|");
        assert_eq!(TenantSet::parse(&many(MOST_TENANTS)).map(|set| set.iter().len()), Ok(MOST_TENANTS));
        assert_eq!(TenantSet::parse(&many(MOST_TENANTS + 1)), Err(TenantError::TooMany(MOST_TENANTS + 1)));
        assert_eq!(TenantSet::parse("a").as_ref().map(TenantSet::only), Ok(Ok(&TenantId(Arc::from("a")))));
        let several = TenantSet::parse("b|a").map(|set| set.only().cloned());
        assert_eq!(several, Ok(Err(TenantError::Several("a|b".into()))));
    }
}
