//! Facts: what is known of a caller beyond the request's own words, because somebody looked it up or verified it. This
//! room takes them as they are.

/// What is known of one caller. Nothing, unless somebody found it out.
#[derive(Clone, Copy, Debug, Default)]
pub struct Facts<'a> {
    /// The claims of a token that was verified.
    pub claims: Option<&'a Claims>,
    /// The country of the client's address.
    pub country: Option<Country>,
    /// Why the token names nobody, where that is told.
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

/// The claims of a token: names and their values as text. The members of an object are told by their path, with dots;
/// the members of a list share its name.
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

    /// Adds one of a list.
    pub fn add_member(&mut self, name: &str, value: &str) {
        self.members.push((name.into(), value.into()));
    }

    /// The one value of a claim; a list is no identity.
    #[must_use]
    pub fn one(&self, name: &str) -> Option<&str> {
        self.singles.iter().find(|(known, _)| **known == *name).map(|(_, value)| &**value)
    }

    /// The value of a claim, or the members of a list.
    pub fn all<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> {
        let both = self.singles.iter().chain(&self.members);
        both.filter(move |(known, _)| **known == *name).map(|(_, value)| &**value)
    }

    /// How many bytes it takes up.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let both = self.singles.iter().chain(&self.members);
        both.map(|(name, value)| name.len() + value.len() + size_of::<(Box<str>, Box<str>)>()).sum()
    }
}

/// Why a token names nobody; the label of what is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenFault {
    /// It is larger than any token may be.
    Oversized,
    /// It is not of the grammar, or there are several that differ.
    Malformed,
    /// Its algorithm is none that is allowed: `none` and all with shared secrets among them.
    Algorithm,
    /// It demands to be understood in ways that we do not know (`crit`).
    Critical,
    /// No key fits.
    UnknownKey,
    /// The signature is not that of the key.
    Signature,
    /// It never expires.
    NoExpiry,
    /// It has expired.
    Expired,
    /// It does not hold yet.
    NotYetValid,
    /// Somebody else issued it.
    Issuer,
    /// It is for somebody else.
    Audience,
    /// It makes more claims than are looked at.
    Crowded,
}

impl TokenFault {
    /// All of them, in the order of their index.
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

    /// The label's value.
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
    fn a_list_is_no_identity() {
        let mut claims = Claims::default();
        claims.add("sub", "u1");
        claims.add_member("groups", "a");
        claims.add_member("groups", "b");
        assert_eq!((claims.one("sub"), claims.one("groups"), claims.one("none")), (Some("u1"), None, None));
        assert_eq!(claims.all("groups").collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(claims.all("sub").collect::<Vec<_>>(), ["u1"]);
    }
}
