//! Client addresses: how many connections each has, and how fast it opens them. Both are bounded, so that one address
//! cannot use up what all share. The workers share this, for a connection goes to any of them; it is looked at when a
//! connection is opened and closed, never for a request.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ahash::{HashMap, RandomState};

use crate::route::Limits;
use crate::telemetry::Refusal;

/// Addresses that are remembered at once; beyond, those without a connection are forgotten.
const ADDRESSES_MAX: usize = 65_536;
/// Parts that are locked apart from each other.
const PARTS: usize = 16;
/// Addresses without a connection are forgotten this often.
const SWEEP_MS: u64 = 10_000;

/// Who has connections to this process.
#[derive(Debug)]
pub struct Visitors {
    parts: [Mutex<HashMap<IpAddr, Visitor>>; PARTS],
    hasher: RandomState,
    swept_ms: AtomicU64,
}

#[derive(Clone, Copy, Debug)]
struct Visitor {
    connections: u32,
    /// Thousandths of a connection that may be opened at once.
    tokens: u64,
    refilled_ms: u64,
}

impl Default for Visitors {
    fn default() -> Self {
        Self { parts: Default::default(), hasher: RandomState::new(), swept_ms: AtomicU64::new(0) }
    }
}

impl Visitors {
    fn part(&self, ip: IpAddr) -> MutexGuard<'_, HashMap<IpAddr, Visitor>> {
        let at = usize::try_from(self.hasher.hash_one(ip)).unwrap_or(0) % PARTS;
        self.parts[at].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Admits one more connection of `ip` at this time since the process started, or says why not.
    pub(super) fn enter(&self, ip: IpAddr, limits: &Limits, now: Duration) -> Result<(), Refusal> {
        let now_ms = millis(now);
        let rate = u64::from(limits.connection_rate_per_ip);
        let mut part = self.part(ip);
        if part.len() >= ADDRESSES_MAX / PARTS {
            part.retain(|_, visitor| visitor.connections > 0);
        }
        let fresh = Visitor { connections: 0, tokens: rate * 1000, refilled_ms: now_ms };
        let visitor = part.entry(ip).or_insert(fresh);
        let elapsed = now_ms.saturating_sub(visitor.refilled_ms);
        visitor.tokens = (visitor.tokens + elapsed.saturating_mul(rate)).min(rate * 1000);
        visitor.refilled_ms = visitor.refilled_ms.max(now_ms);
        if visitor.connections >= limits.connections_per_ip {
            return Err(Refusal::ConnectionsPerIp);
        }
        visitor.tokens = visitor.tokens.checked_sub(1000).ok_or(Refusal::ConnectionRate)?;
        visitor.connections += 1;
        Ok(())
    }

    /// A connection of `ip` has ended.
    pub(super) fn leave(&self, ip: IpAddr) {
        if let Some(visitor) = self.part(ip).get_mut(&ip) {
            visitor.connections = visitor.connections.saturating_sub(1);
        }
    }

    /// Forgets, now and then, addresses that have no connection and a full bucket again.
    pub(super) fn sweep(&self, now: Duration) {
        let (now_ms, swept_ms) = (millis(now), self.swept_ms.load(Relaxed));
        let due = now_ms >= swept_ms + SWEEP_MS;
        if !due || self.swept_ms.compare_exchange(swept_ms, now_ms, Relaxed, Relaxed).is_err() {
            return;
        }
        for part in &self.parts {
            let mut part = part.lock().unwrap_or_else(PoisonError::into_inner);
            part.retain(|_, visitor| visitor.connections > 0 || now_ms < visitor.refilled_ms + SWEEP_MS);
        }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const IP: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn at(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn connections_of_one_address_are_bounded() {
        let limits = Limits { connections_per_ip: 2, ..Limits::default() };
        let visitors = Visitors::default();
        assert_eq!(visitors.enter(IP, &limits, at(0)), Ok(()));
        assert_eq!(visitors.enter(IP, &limits, at(0)), Ok(()));
        assert_eq!(visitors.enter(IP, &limits, at(0)), Err(Refusal::ConnectionsPerIp));
        visitors.leave(IP);
        assert_eq!(visitors.enter(IP, &limits, at(0)), Ok(()));
    }

    #[test]
    fn the_rate_of_one_address_is_bounded_and_refills() {
        let limits = Limits { connection_rate_per_ip: 10, ..Limits::default() };
        let visitors = Visitors::default();
        for _ in 0..10 {
            assert_eq!(visitors.enter(IP, &limits, at(0)), Ok(()));
        }
        assert_eq!(visitors.enter(IP, &limits, at(0)), Err(Refusal::ConnectionRate));
        assert_eq!(visitors.enter(IP, &limits, at(100)), Ok(()));
        assert_eq!(visitors.enter(IP, &limits, at(100)), Err(Refusal::ConnectionRate));
        assert_eq!(visitors.enter(IP, &limits, at(50)), Err(Refusal::ConnectionRate), "another worker's earlier clock");
    }

    #[test]
    fn addresses_without_connections_are_forgotten() {
        let visitors = Visitors::default();
        assert_eq!(visitors.enter(IP, &Limits::default(), at(0)), Ok(()));
        visitors.leave(IP);
        visitors.sweep(at(SWEEP_MS * 3));
        assert!(visitors.parts.iter().all(|part| part.lock().unwrap().is_empty()));
    }
}
