//! The results of the lookups of one name, and which of them are change: a failure is logged once, until a lookup succeeds.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

/// An answer is never used for less, and no name is looked up more often.
pub(super) const TTL_MIN: Duration = Duration::from_secs(1);
/// Why a name has no addresses whose first lookup is under way.
pub(in crate::control) const NO_ANSWER_YET: &str = "no answer yet";

/// The addresses of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsAnswer {
    /// Sorted, without duplicates, never empty.
    pub addresses: Vec<IpAddr>,
    /// How long it may be used.
    pub ttl: Duration,
}

/// What a lookup came to; an error is for people.
pub type LookupResult = Result<DnsAnswer, String>;

impl DnsAnswer {
    /// An answer with its addresses in order, so that equal answers are equal.
    ///
    /// # Errors
    /// When there is no address.
    pub fn new(addresses: impl IntoIterator<Item = IpAddr>, ttl: Duration) -> LookupResult {
        let sorted: BTreeSet<IpAddr> = addresses.into_iter().collect();
        if sorted.is_empty() {
            return Err("the name has no address".to_owned());
        }
        Ok(Self { addresses: sorted.into_iter().collect(), ttl: ttl.max(TTL_MIN) })
    }
}

/// What a name resolved to.
#[derive(Clone, Debug, Default)]
pub struct NameState {
    /// Why the last lookup gave no answer; nothing when it gave one.
    pub error: Option<String>,
    /// The last good answer.
    pub addresses: Vec<IpAddr>,
}

/// What a lookup changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameChange {
    /// Nothing.
    None,
    /// There are other addresses now.
    Addresses,
    /// It is answered again, with the addresses that it had.
    Recovered,
    /// It is not answered any more: the last good addresses are kept.
    Kept,
    /// It is not answered, and never was.
    Unknown,
}

impl NameState {
    /// The addresses, as a plain list for the log.
    pub(in crate::control) fn address_list(&self) -> String {
        let all: Vec<String> = self.addresses.iter().map(ToString::to_string).collect();
        all.join(", ")
    }

    /// Notes what a lookup came to.
    pub(in crate::control) fn note(&mut self, answered: &LookupResult) -> NameChange {
        match answered {
            Ok(answer) => {
                let failed = self.error.take().is_some();
                if self.addresses != answer.addresses {
                    self.addresses.clone_from(&answer.addresses);
                    return NameChange::Addresses;
                }
                if failed { NameChange::Recovered } else { NameChange::None }
            }
            Err(error) => {
                let fresh = self.error.as_deref().is_none_or(|known| known == NO_ANSWER_YET && error != known);
                self.error = Some(error.clone());
                match (fresh, self.addresses.is_empty()) {
                    (false, _) => NameChange::None,
                    (true, true) => NameChange::Unknown,
                    (true, false) => NameChange::Kept,
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn failures_are_told_once_and_never_promise_addresses_that_there_are_not() {
        let good = |last: u8| DnsAnswer::new([IpAddr::from([10, 0, 0, last])], Duration::from_secs(1));
        let bad = |why: &str| Err(why.to_owned());
        let mut resolution = NameState::default();
        for (answered, change) in [
            (bad(NO_ANSWER_YET), NameChange::Unknown),
            (bad("no such name"), NameChange::Unknown),
            (bad("no such name"), NameChange::None),
            (bad("no answer within 10 s"), NameChange::None),
            (good(1), NameChange::Addresses),
            (good(1), NameChange::None),
            (bad("no such name"), NameChange::Kept),
            (bad("no such name"), NameChange::None),
            (good(1), NameChange::Recovered),
            (bad("no such name"), NameChange::Kept),
            (good(2), NameChange::Addresses),
        ] {
            assert_eq!(resolution.note(&answered), change, "{answered:?}");
        }
        assert_eq!((resolution.addresses.len(), resolution.error), (1, None));
    }

    #[test]
    fn addresses_are_a_plain_list() {
        let mut resolution = NameState::default();
        assert_eq!(resolution.address_list(), "");
        resolution.addresses = vec![IpAddr::from([127, 0, 0, 22]), "fd00::1".parse().unwrap()];
        assert_eq!(resolution.address_list(), "127.0.0.22, fd00::1");
    }
}
