//! Failed tokens by address: from the sixth failure within a minute on, each further failure is answered late. A valid
//! token from the same address is never slowed: an attacker on a shared address cannot delay a kill.

use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use ahash::{HashMap, HashMapExt as _};

use super::client::ClientOrigin;
use crate::control::admin::problem::{CallProblem, ProblemKind};

/// Failures that are answered at once.
const FAILURES_AT_ONCE: u32 = 5;
/// Failures are counted for this long.
const WINDOW: Duration = Duration::from_mins(1);
/// How late an answer is.
const DELAY: Duration = Duration::from_secs(1);
/// The most addresses that are remembered.
const ADDRESSES_MAX: usize = 1_024;

/// The failed tokens of each address.
#[derive(Debug, Default)]
pub(in crate::control::admin) struct TokenFailures(Mutex<Option<HashMap<IpAddr, FailureCount>>>);

#[derive(Clone, Copy, Debug)]
struct FailureCount {
    since: Instant,
    count: u32,
}

impl TokenFailures {
    /// Waits when this client has sent many tokens or links that are not valid, and this problem is another one.
    pub async fn slow_down(&self, client: &ClientOrigin, problem: &CallProblem, now: Instant) {
        let ClientOrigin::Tcp { peer, .. } = client else { return };
        let is_failure =
            matches!(problem.kind, ProblemKind::TokenUnknown | ProblemKind::TokenExpired | ProblemKind::LinkUnknown);
        if is_failure {
            tokio::time::sleep(self.record(*peer, now)).await;
        }
    }

    /// Counts a failure of this address, and returns how long its answer waits.
    pub fn record(&self, address: IpAddr, now: Instant) -> Duration {
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let table = table.get_or_insert_with(HashMap::new);
        let address = counted_address(address);
        let is_over = |one: &FailureCount| now.saturating_duration_since(one.since) >= WINDOW;
        if !table.contains_key(&address) && table.len() >= ADDRESSES_MAX {
            table.retain(|_, one| !is_over(one));
            let oldest = table.iter().min_by_key(|(_, one)| one.since).map(|(address, _)| *address);
            if let (Some(oldest), true) = (oldest, table.len() >= ADDRESSES_MAX) {
                table.remove(&oldest);
            }
        }
        let one = table.entry(address).or_insert(FailureCount { since: now, count: 0 });
        if is_over(one) {
            *one = FailureCount { since: now, count: 0 };
        }
        one.count = one.count.saturating_add(1);
        if one.count > FAILURES_AT_ONCE { DELAY } else { Duration::ZERO }
    }
}

/// The address that is counted: of IPv6, the network of 64 bits that one customer has.
fn counted_address(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            std::net::Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn the_sixth_failure_within_a_minute_waits() {
        let (failures, start) = (TokenFailures::default(), Clock.now());
        let after = |seconds| start + Duration::from_secs(seconds);
        for second in 0..5 {
            assert_eq!(failures.record(address("10.0.0.1"), after(second)), Duration::ZERO);
        }
        assert_eq!(failures.record(address("10.0.0.1"), after(5)), DELAY);
        assert_eq!(failures.record(address("::ffff:10.0.0.1"), after(6)), DELAY, "the same address");
        assert_eq!(failures.record(address("10.0.0.2"), after(6)), Duration::ZERO, "another address is not slowed");
        assert_eq!(failures.record(address("10.0.0.1"), after(60)), Duration::ZERO, "a new minute");
    }

    #[test]
    fn a_network_of_ipv6_counts_as_one_address() {
        let (failures, now) = (TokenFailures::default(), Clock.now());
        for host in 1..=5 {
            assert_eq!(failures.record(address(&format!("2001:db8::{host}")), now), Duration::ZERO);
        }
        assert_eq!(failures.record(address("2001:db8::ffff"), now), DELAY);
        assert_eq!(failures.record(address("2001:db8:0:1::1"), now), Duration::ZERO);
    }

    #[test]
    fn the_table_is_bounded_and_forgets_the_oldest() {
        let (failures, start) = (TokenFailures::default(), Clock.now());
        let at = |n: usize| start + Duration::from_millis(u64::try_from(n).expect("small"));
        let nth = |n: usize| {
            IpAddr::from([10, 0, u8::try_from(n / 256).expect("small"), u8::try_from(n % 256).expect("small")])
        };
        for n in 0..ADDRESSES_MAX + 10 {
            failures.record(nth(n), at(n));
        }
        let table = failures.0.lock().expect("no panic");
        let table = table.as_ref().expect("a table");
        assert_eq!(table.len(), ADDRESSES_MAX);
        assert!(!table.contains_key(&nth(9)) && table.contains_key(&nth(10)));
    }
}
