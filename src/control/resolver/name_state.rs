//! The state of one name, and which lookup results change it: a failure is logged once, until a lookup succeeds.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

/// Lower bound of a TTL, and of the time between two lookups of a name.
pub(super) const TTL_MIN: Duration = Duration::from_secs(1);
/// The error of a name whose first lookup has not ended.
pub(in crate::control) const NO_ANSWER_YET: &str = "no answer yet";

/// The result of a successful lookup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsAnswer {
    /// Sorted, without duplicates, never empty.
    pub addresses: Vec<IpAddr>,
    /// Time to live.
    pub ttl: Duration,
}

/// The result of a lookup; the error is for people.
pub type LookupResult = Result<DnsAnswer, String>;

impl DnsAnswer {
    /// Sorts the addresses, so that equal answers compare equal.
    ///
    /// # Errors
    /// When there are no addresses.
    pub fn new(addresses: impl IntoIterator<Item = IpAddr>, ttl: Duration) -> LookupResult {
        let sorted: BTreeSet<IpAddr> = addresses.into_iter().collect();
        if sorted.is_empty() {
            return Err("the name has no address".to_owned());
        }
        Ok(Self { addresses: sorted.into_iter().collect(), ttl: ttl.max(TTL_MIN) })
    }
}

/// The state of a name.
#[derive(Clone, Debug, Default)]
pub struct NameState {
    /// The error of the last lookup; `None` when it succeeded.
    pub error: Option<String>,
    /// The addresses of the last successful lookup.
    pub addresses: Vec<IpAddr>,
}

/// How a lookup result changes the state of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameChange {
    /// Not at all.
    None,
    /// The addresses differ.
    Addresses,
    /// Lookups succeed again, with the same addresses.
    Recovered,
    /// Lookups fail now: the last addresses are kept.
    Kept,
    /// Lookups fail, and none has succeeded yet.
    Unknown,
}

impl NameState {
    /// The addresses as a comma-separated list, for the log.
    pub(in crate::control) fn address_list(&self) -> String {
        let all: Vec<String> = self.addresses.iter().map(ToString::to_string).collect();
        all.join(", ")
    }

    /// Records the result of a lookup.
    pub(in crate::control) fn record(&mut self, answered: &LookupResult) -> NameChange {
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
    fn failures_are_reported_once_and_never_promise_missing_addresses() {
        let good = |last: u8| DnsAnswer::new([IpAddr::from([10, 0, 0, last])], Duration::from_secs(1));
        let bad = |why: &str| Err(why.to_owned());
        let mut name_state = NameState::default();
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
            assert_eq!(name_state.record(&answered), change, "{answered:?}");
        }
        assert_eq!((name_state.addresses.len(), name_state.error), (1, None));
    }

    #[test]
    fn addresses_are_a_comma_separated_list() {
        let mut name_state = NameState::default();
        assert_eq!(name_state.address_list(), "");
        name_state.addresses = vec![IpAddr::from([127, 0, 0, 22]), "fd00::1".parse().unwrap()];
        assert_eq!(name_state.address_list(), "127.0.0.22, fd00::1");
    }
}
