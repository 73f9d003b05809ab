//! Facts: verified or looked-up information about a caller. This room only reads them.

/// The facts about one caller; empty by default.
#[derive(Clone, Copy, Debug, Default)]
pub struct Facts<'a> {
    /// The claims of a verified token.
    pub claims: Option<&'a Claims>,
    /// The country of the client's address.
    pub country: Option<Country>,
    /// Why the token was rejected, if it was.
    pub fault: Option<TokenFault>,
}

/// A country by its code (ISO 3166-1 alpha-2), in upper case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Country([u8; 2]);

impl Country {
    /// The country of this code, in any case.
    #[must_use]
    pub fn new(code: &str) -> Option<Self> {
        let bytes: [u8; 2] = code.as_bytes().try_into().ok()?;
        bytes.iter().all(u8::is_ascii_alphabetic).then(|| Self(bytes.map(|b| b.to_ascii_uppercase())))
    }

    /// The code.
    #[must_use]
    pub fn code(&self) -> &str {
        // Two ASCII letters are UTF-8.
        std::str::from_utf8(&self.0).unwrap_or("")
    }
}

/// The claims of a token: names and values as text. A member of an object is named by its path, with dots; the members
/// of a list share its name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claims {
    singles: Vec<(Box<str>, Box<str>)>,
    members: Vec<(Box<str>, Box<str>)>,
}

impl Claims {
    /// Adds a claim with one value.
    pub fn add(&mut self, name: &str, value: &str) {
        self.singles.push((name.into(), value.into()));
    }

    /// Adds a member of a list.
    pub fn add_member(&mut self, name: &str, value: &str) {
        self.members.push((name.into(), value.into()));
    }

    /// The value of a claim; `None` for a list, which is not an identity.
    #[must_use]
    pub fn one(&self, name: &str) -> Option<&str> {
        self.singles.iter().find(|(known, _)| **known == *name).map(|(_, value)| &**value)
    }

    /// The value of a claim, or the members of a list.
    pub fn all<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> {
        let both = self.singles.iter().chain(&self.members);
        both.filter(move |(known, _)| **known == *name).map(|(_, value)| &**value)
    }

    /// The memory that the claims use, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let both = self.singles.iter().chain(&self.members);
        both.map(|(name, value)| name.len() + value.len() + size_of::<(Box<str>, Box<str>)>()).sum()
    }
}

/// Why a token was rejected; also the label of the metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenFault {
    /// Larger than the limit.
    Oversized,
    /// Invalid syntax, or several tokens that differ.
    Malformed,
    /// An algorithm that is not allowed, such as `none` and all algorithms with shared secrets.
    Algorithm,
    /// An unknown critical header (`crit`).
    Critical,
    /// No key matches.
    UnknownKey,
    /// The signature is invalid.
    Signature,
    /// The token has no expiry.
    NoExpiry,
    /// The token has expired.
    Expired,
    /// The token is not valid yet.
    NotYetValid,
    /// Another issuer.
    Issuer,
    /// Another audience.
    Audience,
    /// More claims than the limit.
    Crowded,
}

impl TokenFault {
    /// All faults, in the order of their index.
    pub const ALL: [Self; 12] = [
        Self::Oversized,
        Self::Malformed,
        Self::Algorithm,
        Self::Critical,
        Self::UnknownKey,
        Self::Signature,
        Self::NoExpiry,
        Self::Expired,
        Self::NotYetValid,
        Self::Issuer,
        Self::Audience,
        Self::Crowded,
    ];

    /// The value of the label.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Oversized => "oversized",
            Self::Malformed => "malformed",
            Self::Algorithm => "algorithm",
            Self::Critical => "critical",
            Self::UnknownKey => "unknown_key",
            Self::Signature => "signature",
            Self::NoExpiry => "no_expiry",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::Issuer => "issuer",
            Self::Audience => "audience",
            Self::Crowded => "crowded",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn countries_have_two_letters() {
        assert_eq!(Country::new("de").map(|country| country.code().to_owned()).as_deref(), Some("DE"));
        for bad in ["", "D", "DEU", "D1", "ß"] {
            assert_eq!(Country::new(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_list_is_not_an_identity() {
        let mut claims = Claims::default();
        claims.add("sub", "u1");
        claims.add_member("groups", "a");
        claims.add_member("groups", "b");
        assert_eq!((claims.one("sub"), claims.one("groups"), claims.one("none")), (Some("u1"), None, None));
        assert_eq!(claims.all("groups").collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(claims.all("sub").collect::<Vec<_>>(), ["u1"]);
    }
}
