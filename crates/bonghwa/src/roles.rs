//! Which roles a process runs.

/// The roles of this build, by the names that `--target` takes.
pub const ROLES: [&str; 6] = ["distributor", "ingester", "meta", "querier", "compactor", "scraper"];

/// A choice of roles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Roles(Vec<&'static str>);

impl Roles {
    /// Reads a `--target`: `all`, or roles separated by commas.
    pub fn parse(target: &str) -> Result<Roles, String> {
        let mut roles = Vec::new();
        for name in target.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            match ROLES.iter().find(|role| **role == name) {
                Some(role) if !roles.contains(role) => roles.push(*role),
                Some(_) => {}
                None if name == "all" => return Ok(Roles(ROLES.to_vec())),
                None => {
                    return Err(format!("{name:?} is no role: name `all`, or some of {}", ROLES.join(", ")));
                }
            }
        }
        if roles.is_empty() {
            return Err(format!("{target:?} names no role: name `all`, or some of {}", ROLES.join(", ")));
        }
        Ok(Roles(roles))
    }

    /// Without the role of that name.
    pub fn without(mut self, role: &str) -> Roles {
        self.0.retain(|name| *name != role);
        self
    }

    /// Whether the role is among them.
    pub fn has(&self, role: &str) -> bool {
        self.0.contains(&role)
    }

    /// Whether one of them keeps a log on this node's disk.
    pub fn keeps_log(&self) -> bool {
        self.has("ingester") || self.has("meta")
    }

    /// Their names.
    pub fn names(&self) -> Vec<String> {
        self.0.iter().map(ToString::to_string).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets() {
        assert_eq!(Roles::parse("all").unwrap().names(), ROLES);
        assert_eq!(Roles::parse("querier, distributor,querier").unwrap().names(), ["querier", "distributor"]);
        assert!(!Roles::parse("distributor").unwrap().keeps_log());
        for (target, said) in [("", "names no role"), ("ingestor", "\"ingestor\" is no role")] {
            assert!(Roles::parse(target).unwrap_err().contains(said), "{target}");
        }
    }
}
