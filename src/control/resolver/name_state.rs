//! The state of one name, and which lookup results change it: a failure is logged once, until a lookup succeeds.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

/// Lower bound of a TTL, and of the time between two lookups of a name.
pub(super) const TTL_MIN: Duration = Duration::from_secs(1);
/// The most addresses of a name that are used.
pub const ADDRESSES_MAX: usize = 256;
/// The most addresses in a line of the log.
const SHOWN_MAX: usize = 10;
/// The error of a name whose first lookup has not ended.
pub(in crate::control) const NO_ANSWER_YET: &str = "no answer yet";

/// The result of a successful lookup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsAnswer {
    /// Sorted, without duplicates, never empty, at most `ADDRESSES_MAX`.
    pub addresses: Vec<IpAddr>,
    /// How many more there were; those are not used.
    pub left_out: usize,
    /// Time to live.
    pub ttl: Duration,
}

/// The result of a lookup; the error is for people.
pub type LookupResult = Result<DnsAnswer, String>;

impl DnsAnswer {
    /// Sorts the addresses, so that equal answers compare equal, and keeps the first `ADDRESSES_MAX`.
    ///
    /// # Errors
    /// When there are no addresses.
    pub fn new(addresses: impl IntoIterator<Item = IpAddr>, ttl: Duration) -> LookupResult {
        let sorted: BTreeSet<IpAddr> = addresses.into_iter().collect();
        if sorted.is_empty() {
            return Err("the name has no address".to_owned());
        }
        let left_out = sorted.len().saturating_sub(ADDRESSES_MAX);
        let addresses = sorted.into_iter().take(ADDRESSES_MAX).collect();
        Ok(Self { addresses, left_out, ttl: ttl.max(TTL_MIN) })
    }
}

/// The state of a name.
#[derive(Clone, Debug, Default)]
pub struct NameState {
    /// The error of the last lookup; `None` when it succeeded.
    pub error: Option<String>,
    /// The addresses of the last successful lookup.
    pub addresses: Vec<IpAddr>,
    /// How many more it had than are used.
    pub left_out: usize,
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
    /// The first addresses as a comma-separated list, and the number of the others, for the log.
    pub(in crate::control) fn address_list(&self) -> String {
        let shown: Vec<String> = self.addresses.iter().take(SHOWN_MAX).map(ToString::to_string).collect();
        let list = shown.join(", ");
        match self.addresses.len().saturating_sub(SHOWN_MAX) {
            0 => list,
            more => format!("{list} and {more} more"),
        }
    }

    /// Takes over how many addresses of an answer are not used; returns the number when some are, for the first time.
    pub(in crate::control) fn record_left_out(&mut self, answered: &LookupResult) -> Option<usize> {
        let answer = answered.as_ref().ok()?;
        let before = std::mem::replace(&mut self.left_out, answer.left_out);
        (before == 0 && answer.left_out > 0).then_some(answer.left_out)
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
    fn a_name_with_too_many_addresses_keeps_the_first_and_says_so_once() {
        let all =
            |count: u16| (0..count).rev().map(|at| IpAddr::from([10, 0, at.to_be_bytes()[0], at.to_be_bytes()[1]]));
        let answer = |count| DnsAnswer::new(all(count), Duration::from_secs(1));
        let kept = answer(500).expect("an answer");
        assert_eq!((kept.addresses.len(), kept.left_out), (256, 244));
        assert_eq!(kept.addresses, all(256).rev().collect::<Vec<_>>(), "the first ones, whatever their order was");
        let mut name_state = NameState::default();
        let said = [256, 257, 300, 256, 500].map(|count| name_state.record_left_out(&answer(count)));
        assert_eq!(said, [None, Some(1), None, None, Some(244)]);
        assert_eq!(name_state.record_left_out(&Err("no answer".to_owned())), None);
        assert_eq!(name_state.left_out, 244, "of the last good answer");
    }

    #[test]
    fn addresses_are_a_comma_separated_list() {
        let mut name_state = NameState::default();
        assert_eq!(name_state.address_list(), "");
        name_state.addresses = vec![IpAddr::from([127, 0, 0, 22]), "fd00::1".parse().unwrap()];
        assert_eq!(name_state.address_list(), "127.0.0.22, fd00::1");
        let first = |count: u8| (1..=count).map(|at| IpAddr::from([10, 0, 0, at])).collect::<Vec<_>>();
        name_state.addresses = first(10);
        assert!(name_state.address_list().ends_with(", 10.0.0.10"), "all of ten");
        name_state.addresses = first(250);
        assert!(name_state.address_list().ends_with(", 10.0.0.10 and 240 more"), "{}", name_state.address_list());
    }
}
