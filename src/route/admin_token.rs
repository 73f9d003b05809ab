//! The tokens of the admin listener: who may do what. A token itself is never known here, only its SHA-256.

use std::fmt;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

/// The longest name of an approver's role, in bytes.
const APPROVER_BYTES_MAX: usize = 63;

/// A role: what its holder may do.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AdminRole {
    /// Read everything.
    Viewer,
    /// Kill, revive, reload.
    Operator,
    /// Approve as this role.
    Approver(String),
    /// Evaluate all flags.
    Flags,
    /// Send outcomes.
    Outcomes,
    /// Read `/metrics`, `/healthz` and `/readyz` only.
    Metrics,
}

/// The roles of a token; at least one, without duplicates.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AdminRoles(Vec<AdminRole>);

/// A token, without its secret.
#[derive(Clone, PartialEq, Eq)]
pub struct AdminToken {
    /// The name: who acts, in the journal.
    pub name: String,
    /// What it permits.
    pub roles: AdminRoles,
    /// SHA-256 of the token.
    pub sha256: [u8; 32],
    /// When it expires, since the Unix epoch; `None`: never.
    pub expires_at: Option<Duration>,
}

/// The tokens of the admin listener; names and hashes are unique. A clone shares the list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenList(Arc<[AdminToken]>);

impl AdminRole {
    /// The names of the roles that have no name of their own; `approver:ROLE` is the other one.
    pub const WORDS: [&'static str; 5] = ["viewer", "operator", "flags", "outcomes", "metrics"];

    /// The role with this name in a tokens file, such as `operator` or `approver:tech-lead`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "viewer" => Some(Self::Viewer),
            "operator" => Some(Self::Operator),
            "flags" => Some(Self::Flags),
            "outcomes" => Some(Self::Outcomes),
            "metrics" => Some(Self::Metrics),
            _ => {
                text.strip_prefix("approver:").filter(|name| is_name(name)).map(|name| Self::Approver(name.to_owned()))
            }
        }
    }
}

/// Whether this is a name like those of routes.
fn is_name(text: &str) -> bool {
    let is_alphanumeric = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    text.len() <= APPROVER_BYTES_MAX
        && text.bytes().next().is_some_and(is_alphanumeric)
        && text.bytes().all(|b| is_alphanumeric(b) || b == b'-' || b == b'_')
}

impl fmt::Display for AdminRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Viewer => f.write_str("viewer"),
            Self::Operator => f.write_str("operator"),
            Self::Approver(name) => write!(f, "approver:{name}"),
            Self::Flags => f.write_str("flags"),
            Self::Outcomes => f.write_str("outcomes"),
            Self::Metrics => f.write_str("metrics"),
        }
    }
}

impl AdminRoles {
    /// Whether this role is among them. No role includes another one.
    #[must_use]
    pub fn contains(&self, role: &AdminRole) -> bool {
        self.0.contains(role)
    }

    /// The roles, in the order of the file.
    pub fn iter(&self) -> impl Iterator<Item = &AdminRole> {
        self.0.iter()
    }
}

impl FromIterator<AdminRole> for AdminRoles {
    fn from_iter<I: IntoIterator<Item = AdminRole>>(roles: I) -> Self {
        let mut all: Vec<AdminRole> = Vec::new();
        for role in roles {
            if !all.contains(&role) {
                all.push(role);
            }
        }
        Self(all)
    }
}

impl fmt::Display for AdminRoles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().enumerate().try_for_each(|(at, role)| write!(f, "{}{role}", if at == 0 { "" } else { ", " }))
    }
}

impl AdminToken {
    /// Whether it is no longer valid at this time, since the Unix epoch.
    #[must_use]
    pub fn is_expired(&self, now: Duration) -> bool {
        self.expires_at.is_some_and(|at| at <= now)
    }
}

impl fmt::Debug for AdminToken {
    /// Without the hash.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, roles, sha256: _, expires_at } = self;
        let mut shown = f.debug_struct("AdminToken");
        shown.field("name", name).field("roles", roles).field("expires_at", expires_at).finish_non_exhaustive()
    }
}

impl TokenList {
    /// The token with this SHA-256, expired or not. The time depends on the number of tokens only.
    #[must_use]
    pub fn find(&self, sha256: &[u8; 32]) -> Option<&AdminToken> {
        let mut found = None;
        for token in self.iter() {
            let bits = token.sha256.iter().zip(sha256).fold(0, |bits, (one, other)| black_box(bits | (one ^ other)));
            if bits == 0 {
                found = Some(token);
            }
        }
        found
    }

    /// The token with this name, such as the common name of a client certificate.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<&AdminToken> {
        self.iter().find(|token| token.name == name)
    }

    /// The tokens, in the order of the file.
    pub fn iter(&self) -> impl Iterator<Item = &AdminToken> {
        self.0.iter()
    }

    /// The number of tokens.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no token.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<AdminToken> for TokenList {
    fn from_iter<I: IntoIterator<Item = AdminToken>>(tokens: I) -> Self {
        Self(tokens.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(name: &str, first: u8) -> AdminToken {
        let mut sha256 = [7; 32];
        sha256[0] = first;
        let roles = [AdminRole::Viewer, AdminRole::Operator, AdminRole::Viewer].into_iter().collect();
        AdminToken { name: name.to_owned(), roles, sha256, expires_at: Some(Duration::from_secs(10)) }
    }

    #[test]
    fn roles_have_names() {
        for text in AdminRole::WORDS.into_iter().chain(["approver:tech-lead", "approver:a"]) {
            assert_eq!(AdminRole::parse(text).map(|role| role.to_string()).as_deref(), Some(text));
        }
        let long = format!("approver:{}", "a".repeat(64));
        for text in ["", "Viewer", "admin", "approver", "approver:", "approver:Tech", "approver:-a", &long] {
            assert_eq!(AdminRole::parse(text), None, "{text}");
        }
        assert_eq!(token("a", 1).roles.to_string(), "viewer, operator");
    }

    #[test]
    fn a_token_is_found_by_its_whole_hash() {
        let list: TokenList = [token("a", 1), token("b", 2)].into_iter().collect();
        let mut hash = [7; 32];
        for (first, expected) in [(1, Some("a")), (2, Some("b")), (3, None)] {
            hash[0] = first;
            assert_eq!(list.find(&hash).map(|token| token.name.as_str()), expected);
        }
        (hash[0], hash[31]) = (1, 8);
        assert_eq!(list.find(&hash), None);
        assert!(list.named("b").is_some() && list.named("c").is_none());
    }

    #[test]
    fn a_token_expires_at_its_time() {
        let token = token("a", 1);
        assert!(!token.is_expired(Duration::from_secs(9)) && token.is_expired(Duration::from_secs(10)));
        assert!(!AdminToken { expires_at: None, ..token }.is_expired(Duration::MAX));
    }

    #[test]
    fn a_hash_is_not_shown() {
        let shown = format!("{:?}", [token("a", 1)].into_iter().collect::<TokenList>());
        assert!(shown.contains("\"a\"") && !shown.contains('7'), "{shown}");
    }
}
