//! Callers: how they prove who they are, and what they may do.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bonghwa_model::{TenantId, TenantSet};
use sha2::{Digest as _, Sha256};
use subtle::{Choice, ConstantTimeEq};

use super::routes::Needs;

/// What remains of a secret here: it can be compared, and not be shown.
#[derive(Clone, Copy)]
pub(super) struct Digest([u8; 32]);

impl Digest {
    /// Of a secret.
    pub(super) fn of(secret: &[u8]) -> Self {
        Digest(Sha256::digest(secret).into())
    }

    /// From 64 hexadecimal digits.
    pub(super) fn from_hex(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).ok()?;
        Some(Digest(bytes))
    }

    /// Takes as long whether it is the same or not.
    pub(super) fn same(&self, other: &Digest) -> Choice {
        self.0[..].ct_eq(&other.0[..])
    }
}

/// How a caller proves who it is.
pub(super) enum Credential {
    /// `Authorization: Bearer TOKEN`.
    Token(Digest),
    /// `Authorization: Basic`, of a user name and a password.
    Password { username: Digest, password: Digest },
}

/// What a request presents.
type Presented = Credential;

/// The tenants that a caller may read or write.
pub(super) enum Tenants {
    All,
    /// By name.
    These(Vec<TenantId>),
}

/// What a caller may do.
#[derive(Clone, Copy, Default)]
pub(super) struct Rights {
    pub(super) read: bool,
    pub(super) write: bool,
    pub(super) admin: bool,
}

/// Somebody who may send requests.
pub(super) struct Caller {
    pub(super) name: String,
    pub(super) credential: Credential,
    pub(super) tenants: Tenants,
    pub(super) rights: Rights,
}

/// All callers.
pub struct Callers {
    pub(super) callers: Vec<Caller>,
}

impl Callers {
    /// The caller whose credentials these are. All are compared, whichever matches.
    pub(super) fn find(&self, authorization: &[u8]) -> Option<&Caller> {
        let presented = presented(authorization)?;
        let mut found = None;
        for caller in &self.callers {
            if caller.credential.same(&presented).into() {
                found = Some(caller);
            }
        }
        found
    }
}

impl Credential {
    fn same(&self, presented: &Presented) -> Choice {
        match (self, presented) {
            (Credential::Token(own), Credential::Token(token)) => own.same(token),
            (
                Credential::Password { username, password },
                Credential::Password { username: given_name, password: given },
            ) => username.same(given_name) & password.same(given),
            _ => Choice::from(0),
        }
    }
}

/// Reads the value of `Authorization`.
fn presented(authorization: &[u8]) -> Option<Presented> {
    let at = authorization.iter().position(|byte| *byte == b' ')?;
    let (scheme, rest) = authorization.split_at(at);
    let rest = rest.trim_ascii();
    if scheme.eq_ignore_ascii_case(b"bearer") {
        return Some(Credential::Token(Digest::of(rest)));
    }
    if !scheme.eq_ignore_ascii_case(b"basic") {
        return None;
    }
    let pair = STANDARD.decode(rest).ok()?;
    let colon = pair.iter().position(|byte| *byte == b':')?;
    let (username, password) = (&pair[..colon], &pair[colon + 1..]);
    Some(Credential::Password { username: Digest::of(username), password: Digest::of(password) })
}

impl Caller {
    /// The right that is missing, if one is.
    pub(super) fn lacks(&self, needs: Needs) -> Option<&'static str> {
        let Rights { read, write, admin } = self.rights;
        match needs {
            Needs::Nothing => None,
            Needs::Read => (!read).then_some("`read`"),
            Needs::Write => (!write).then_some("`write`"),
            Needs::Overview => {
                let reads_all = read && matches!(self.tenants, Tenants::All);
                (!admin && !reads_all).then_some("`admin`, or `read` for all tenants,")
            }
            Needs::Admin => (!admin).then_some("`admin`"),
        }
    }

    /// The tenant of a request that names none: the caller's only one.
    pub(super) fn only_tenant(&self) -> Option<&TenantId> {
        match &self.tenants {
            Tenants::These(tenants) if tenants.len() == 1 => tenants.first(),
            _ => None,
        }
    }

    /// A tenant of these that the caller may not use.
    pub(super) fn stranger<'a>(&self, tenants: &'a TenantSet) -> Option<&'a TenantId> {
        match &self.tenants {
            Tenants::All => None,
            Tenants::These(own) => tenants.iter().find(|tenant| !own.contains(tenant)),
        }
    }

    /// Its tenants, as an answer to the caller names them.
    pub(super) fn tenants_in_words(&self) -> String {
        match &self.tenants {
            Tenants::All => "any".to_owned(),
            Tenants::These(tenants) => tenants.iter().map(TenantId::as_str).collect::<Vec<_>>().join(", "),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn caller(name: &str, credential: Credential) -> Caller {
        Caller { name: name.into(), credential, tenants: Tenants::All, rights: Rights::default() }
    }

    #[test]
    fn callers_are_known_by_what_they_present() {
        let of = |text: &str| Digest::of(text.as_bytes());
        let password = |password: &str| Credential::Password { username: of("ann"), password: of(password) };
        let callers = Callers {
            callers: vec![
                caller("one", Credential::Token(of("first"))),
                caller("two", Credential::Token(of("second"))),
                caller("ann", password("pass:word")),
            ],
        };
        let basic = |text: &str| format!("Basic {}", STANDARD.encode(text));
        for (presented, expected) in [
            ("Bearer first".to_owned(), Some("one")),
            ("bearer  second".to_owned(), Some("two")),
            ("Bearer third".to_owned(), None),
            ("Bearer firs".to_owned(), None),
            ("Bearer ".to_owned(), None),
            ("Bearer".to_owned(), None),
            ("first".to_owned(), None),
            (String::new(), None),
            (basic("ann:pass:word"), Some("ann")),
            (basic("ann:password"), None),
            (basic("bob:pass:word"), None),
            (basic(":first"), None),
            (basic("first"), None),
            ("Basic ann:pass:word".to_owned(), None),
            (format!("Bearer {}", STANDARD.encode("ann:pass:word")), None),
            ("Digest first".to_owned(), None),
        ] {
            let found = callers.find(presented.as_bytes()).map(|caller| caller.name.as_str());
            assert_eq!(found, expected, "{presented}");
        }
    }

    #[test]
    fn digests_are_read_from_hex() {
        let text = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
        assert!(bool::from(Digest::from_hex(text).unwrap().same(&Digest::of(b"test"))));
        assert!(bool::from(Digest::from_hex(&text.to_uppercase()).unwrap().same(&Digest::of(b"test"))));
        for bad in ["", "9f", &text[1..], &format!("{text}00"), &text.replace('9', "g")] {
            assert!(Digest::from_hex(bad).is_none(), "{bad}");
        }
    }
}
