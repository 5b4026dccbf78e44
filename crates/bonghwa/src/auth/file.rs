//! The file of callers. No error shows a secret, whatever is wrong with the file.

use std::path::Path;

use bonghwa_model::TenantId;
use serde_yaml_ng::{Mapping, Value};

use super::callers::{Caller, Callers, Credential, Digest, Rights, Tenants};

/// What a caller can have.
const FIELDS: [&str; 8] =
    ["name", "token", "token_sha256", "username", "password", "password_sha256", "tenants", "rights"];

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It is not there, or not readable.
    #[error("{path}: {source}")]
    Unreadable {
        /// Which file.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// It says what makes no sense.
    #[error("{path}: {message}")]
    Wrong {
        /// Which file.
        path: String,
        /// The caller, the field, and the remedy.
        message: String,
    },
}

/// Reads and checks the file.
pub fn read(path: &Path) -> Result<Callers, FileError> {
    let name = path.display().to_string();
    match std::fs::read(path) {
        Ok(bytes) => of_bytes(path, &bytes),
        Err(source) => Err(FileError::Unreadable { path: name, source }),
    }
}

/// Checks what the file holds.
pub(super) fn of_bytes(path: &Path, bytes: &[u8]) -> Result<Callers, FileError> {
    let wrong = |message| FileError::Wrong { path: path.display().to_string(), message };
    let text = std::str::from_utf8(bytes).map_err(|e| wrong(format!("it is no UTF-8: {e}")))?;
    parse(text).map_err(wrong)
}

fn parse(text: &str) -> Result<Callers, String> {
    let document: Value = serde_yaml_ng::from_str(text).map_err(|e| {
        // The parser's own words may quote what it read.
        let place = e.location().map(|at| format!(" at line {} column {}", at.line(), at.column()));
        let place = place.unwrap_or_default();
        format!("it is no YAML{place}: check quotes, colons, indentation, and that no key is there twice")
    })?;
    let Value::Mapping(mut document) = document else {
        return Err("it must have one key, `callers`, with a list".into());
    };
    let listed = document.remove("callers");
    if let Some(key) = document.keys().next() {
        return Err(format!("unknown key `{}`: the only one is `callers`", shown(key)));
    }
    let Some(Value::Sequence(listed)) = listed else {
        return Err("`callers` must be a list, each with name, token or password, tenants and rights".into());
    };
    let mut callers: Vec<Caller> = Vec::new();
    for (at, entry) in listed.into_iter().enumerate() {
        let caller = caller(entry, at)?;
        if let Some(other) = callers.iter().find(|other| other.name == caller.name) {
            return Err(format!("caller {}: name is there twice: give each caller its own", other.name));
        }
        if let Some((other, field)) = callers.iter().find_map(|other| Some((other, clash(other, &caller)?))) {
            return Err(format!(
                "caller {}: {field} is that of caller {} too: give each its own",
                caller.name, other.name
            ));
        }
        callers.push(caller);
    }
    Ok(Callers { callers })
}

/// The field in which two callers cannot be told apart.
fn clash(one: &Caller, other: &Caller) -> Option<&'static str> {
    match (&one.credential, &other.credential) {
        (Credential::Token(a), Credential::Token(b)) => bool::from(a.same(b)).then_some("token"),
        (Credential::Password { username: a, .. }, Credential::Password { username: b, .. }) => {
            bool::from(a.same(b)).then_some("username")
        }
        _ => None,
    }
}

/// A key that is shown: what follows a colon may be a secret that lacks a space before it.
fn shown(key: &Value) -> String {
    let key = key.as_str().unwrap_or("?");
    key.split(':').next().unwrap_or_default().chars().filter(|c| !c.is_control()).take(40).collect()
}

/// The fields of one caller that are not read yet.
struct Fields {
    caller: String,
    left: Mapping,
}

impl Fields {
    fn error(&self, message: impl std::fmt::Display) -> String {
        format!("caller {}: {message}", self.caller)
    }

    fn text(&mut self, field: &str) -> Result<Option<String>, String> {
        match self.left.remove(field) {
            None => Ok(None),
            Some(Value::String(text)) if text.is_empty() => Err(self.error(format!("{field} is empty: fill it in"))),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(self.error(format!("{field} is no text: put it in quotes"))),
        }
    }

    /// A secret in the clear or as its digest, whichever is there.
    fn secret(&mut self, field: &str) -> Result<Option<Digest>, String> {
        let hashed = format!("{field}_sha256");
        match (self.text(field)?, self.text(&hashed)?) {
            (Some(_), Some(_)) => Err(self.error(format!("{field} and {hashed} are both there: keep one"))),
            (Some(secret), None) if field == "token" && !secret.bytes().all(|b| b.is_ascii_graphic()) => {
                Err(self.error("token has a character that Authorization cannot carry: use letters, digits and signs"))
            }
            (Some(secret), None) => Ok(Some(Digest::of(secret.as_bytes()))),
            (None, Some(digest)) => match Digest::from_hex(&digest) {
                Some(digest) => Ok(Some(digest)),
                None => Err(self.error(format!(
                    "{hashed} must be the 64 hexadecimal digits of a SHA-256, as `printf %s SECRET | sha256sum` prints"
                ))),
            },
            (None, None) => Ok(None),
        }
    }

    fn credential(&mut self) -> Result<Credential, String> {
        let (token, username, password) = (self.secret("token")?, self.text("username")?, self.secret("password")?);
        match (token, username, password) {
            (Some(token), None, None) => Ok(Credential::Token(token)),
            (None, Some(name), Some(_)) if name.contains(':') => {
                Err(self.error("username has a colon, which ends it in Basic authentication: leave it out"))
            }
            (None, Some(name), Some(password)) => {
                Ok(Credential::Password { username: Digest::of(name.as_bytes()), password })
            }
            (Some(_), _, _) => Err(self.error("token stands beside username or password: make two callers of it")),
            (None, Some(_), None) => Err(self.error("username has no password: add password or password_sha256")),
            (None, None, Some(_)) => Err(self.error("password has no username: add username")),
            (None, None, None) => {
                Err(self.error("token is missing: add token or token_sha256, or username with a password"))
            }
        }
    }

    fn rights(&mut self) -> Result<Rights, String> {
        let mut rights = Rights::default();
        let Some(Value::Sequence(listed)) = self.left.remove("rights") else {
            return Err(self.error("rights must be a list of some of read, write and admin"));
        };
        if listed.is_empty() {
            return Err(self.error("rights is empty: list some of read, write and admin, or remove the caller"));
        }
        for right in listed {
            match right.as_str() {
                Some("read") => rights.read = true,
                Some("write") => rights.write = true,
                Some("admin") => rights.admin = true,
                _ => {
                    let right = shown(&right);
                    return Err(self.error(format!("rights has `{right}`: there are read, write and admin")));
                }
            }
        }
        Ok(rights)
    }

    fn tenants(&mut self, rights: Rights) -> Result<Tenants, String> {
        let uses_tenants = rights.read || rights.write;
        let listed = match self.left.remove("tenants") {
            None if uses_tenants => {
                return Err(
                    self.error("tenants is missing: list those that it may read or write, or write \"*\" for all")
                );
            }
            None => return Ok(Tenants::These(Vec::new())),
            Some(_) if !uses_tenants => {
                return Err(self.error("tenants are named, but rights has neither read nor write: leave one out"));
            }
            Some(Value::String(all)) if all == "*" => return Ok(Tenants::All),
            Some(Value::Sequence(listed)) if !listed.is_empty() => listed,
            Some(_) => return Err(self.error("tenants must be a list of names, or \"*\" for all")),
        };
        let mut tenants = Vec::new();
        for tenant in &listed {
            let Some(name) = tenant.as_str() else {
                return Err(self.error("tenants has a name that is no text: put it in quotes"));
            };
            // `*` may be in a tenant's name; alone in a list it is meant as all.
            if name == "*" {
                return Err(self.error("tenants has \"*\" in a list: write tenants: \"*\" for all"));
            }
            tenants.push(TenantId::new(name).map_err(|e| self.error(format!("tenants has {name:?}: {e}")))?);
        }
        tenants.sort();
        tenants.dedup();
        Ok(Tenants::These(tenants))
    }

    fn check_names(&self) -> Result<(), String> {
        let unknown = self.left.keys().find(|key| key.as_str().is_none_or(|key| !FIELDS.contains(&key)));
        let Some(key) = unknown.map(shown) else { return Ok(()) };
        let near = FIELDS.iter().map(|field| (strsim::damerau_levenshtein(field, &key), field)).min();
        let near = near.filter(|(distance, field)| *distance <= 1 + field.len() / 3);
        let near = match near {
            // The key goes on after its colon.
            Some((0, _)) => ": put a space after its colon".to_owned(),
            Some((_, field)) => format!(": did you mean `{field}`?"),
            None => String::new(),
        };
        Err(self.error(format!("unknown field `{key}`{near}")))
    }
}

fn caller(entry: Value, at: usize) -> Result<Caller, String> {
    let Value::Mapping(left) = entry else {
        return Err(format!("callers: entry {} has no fields: give it a name, a token, tenants and rights", at + 1));
    };
    let mut fields = Fields { caller: format!("number {}", at + 1), left };
    let Some(name) = fields.text("name")? else {
        return Err(fields.error("name is missing: answers and errors speak of the caller by it"));
    };
    if name.chars().any(char::is_control) || name.len() > 100 {
        return Err(fields.error("name has control characters or more than 100 bytes: use a plain one"));
    }
    fields.caller = name.clone();
    // First: what a mistyped field leaves missing is only a consequence.
    fields.check_names()?;
    let credential = fields.credential()?;
    let rights = fields.rights()?;
    let tenants = fields.tenants(rights)?;
    Ok(Caller { name, credential, tenants, rights })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const GOOD: &str = "callers:
  - { name: agent, token: s3cret-of-agent, tenants: [a], rights: [write] }
  - name: grafana
    username: grafana
    password_sha256: 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
    tenants: [b, a, b]
    rights: [read]
  - { name: root, token: s3cret-of-root, rights: [admin] }
  - { name: all, token: s3cret-of-all, tenants: '*', rights: [read, write, admin] }
";

    #[test]
    fn a_good_file_is_read() {
        let callers = parse(GOOD).unwrap();
        let found = |authorization: &str| callers.find(authorization.as_bytes()).map(|c| c.name.clone());
        assert_eq!(found("Bearer s3cret-of-root").unwrap(), "root");
        assert_eq!(found("Basic Z3JhZmFuYTp0ZXN0").unwrap(), "grafana");
        let tenants: Vec<String> = callers.callers.iter().map(Caller::tenants_in_words).collect();
        assert_eq!(tenants, ["a", "a, b", "", "any"]);
        assert!(parse("callers: []").unwrap().callers.is_empty());
    }

    #[test]
    fn mistakes_name_caller_and_field_and_show_no_secret() {
        let with = |fields: &str| format!("callers:\n  - {{ name: shop, {fields} }}");
        let rest = "tenants: [a], rights: [read]";
        for (text, expected) in [
            (with(&format!("tokn: hush, {rest}")), "caller shop: unknown field `tokn`: did you mean `token`?"),
            (with(&format!("token:hush, {rest}")), "caller shop: unknown field `token`: put a space after its colon"),
            (with(&format!("zebra: hush, {rest}")), "caller shop: unknown field `zebra`"),
            (with(rest), "caller shop: token is missing: "),
            (with(&format!("token: '', {rest}")), "caller shop: token is empty: "),
            (with(&format!("token: 12345678, {rest}")), "caller shop: token is no text: put it in quotes"),
            (with(&format!("token: 'hu sh', {rest}")), "caller shop: token has a character"),
            (with(&format!("token: hush, token_sha256: ab, {rest}")), "caller shop: token and token_sha256 are both"),
            (with(&format!("token_sha256: hush, {rest}")), "caller shop: token_sha256 must be the 64"),
            (with(&format!("token: hush, username: u, {rest}")), "caller shop: token stands beside username"),
            (with(&format!("username: u, {rest}")), "caller shop: username has no password"),
            (with(&format!("password: hush, {rest}")), "caller shop: password has no username"),
            (with(&format!("username: 'u:v', password: hush, {rest}")), "caller shop: username has a colon"),
            (
                with(&format!("username: u, password: hush, password_sha256: x, {rest}")),
                "caller shop: password and password_sha256 are both there: keep one",
            ),
            (with("token: hush, rights: [read]"), "caller shop: tenants is missing"),
            (with("token: hush, rights: [read], tenants: []"), "caller shop: tenants must be a list"),
            (with("token: hush, rights: [read], tenants: shop"), "caller shop: tenants must be a list"),
            (with("token: hush, rights: [read], tenants: ['*']"), "caller shop: tenants has \"*\" in a list"),
            (with("token: hush, rights: [read], tenants: ['a|b']"), "caller shop: tenants has \"a|b\""),
            (with("token: hush, rights: [read], tenants: [7]"), "caller shop: tenants has a name that is no text"),
            (with("token: hush, rights: [admin], tenants: [a]"), "caller shop: tenants are named, but rights"),
            (with("token: hush, tenants: [a]"), "caller shop: rights must be a list"),
            (with("token: hush, tenants: [a], rights: []"), "caller shop: rights is empty"),
            (with("token: hush, tenants: [a], rights: [reed]"), "caller shop: rights has `reed`"),
            (with("token: hush, tenants: [a], rights: read"), "caller shop: rights must be a list"),
            (format!("callers:\n  - {{ token: hush, {rest} }}"), "caller number 1: name is missing"),
            ("callers:\n  - hush".into(), "callers: entry 1 has no fields"),
            ("callers:".into(), "`callers` must be a list"),
            ("caller: []".into(), "unknown key `caller`"),
            ("hush".into(), "it must have one key, `callers`"),
            ("callers: [hush: {".into(), "it is no YAML at line"),
            (
                format!("{GOOD}  - {{ name: agent, token: hush, {rest} }}"),
                "caller agent: name is there twice: give each caller its own",
            ),
            (
                format!("{GOOD}  - {{ name: two, token: s3cret-of-agent, {rest} }}"),
                "caller two: token is that of caller agent too",
            ),
            (
                format!("{GOOD}  - {{ name: two, username: grafana, password: hush, {rest} }}"),
                "caller two: username is that of caller grafana too",
            ),
        ] {
            let error = parse(&text).err().unwrap();
            assert!(error.starts_with(expected), "{text}:\n{error}\n{expected}");
            let secrets = ["hush", "hu sh", "12345678", "s3cret"];
            assert!(secrets.iter().all(|secret| !error.contains(secret)), "{error}");
        }
    }
}
