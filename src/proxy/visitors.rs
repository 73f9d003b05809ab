//! Client addresses: how many connections each has on this worker, and how fast it opens them. Both are bounded, so
//! that one address cannot use up what all share.

use std::cell::{Cell, RefCell};
use std::net::IpAddr;

use crate::route::Limits;
use crate::telemetry::Refusal;

/// Addresses that are remembered at once; beyond, those without a connection are forgotten.
const ADDRESSES_MAX: usize = 65_536;
/// Addresses without a connection are forgotten this often.
const SWEEP_MS: u64 = 10_000;

/// A worker's view of client addresses.
#[derive(Default)]
pub(super) struct Visitors {
    by_ip: RefCell<ahash::HashMap<IpAddr, Visitor>>,
    swept_ms: Cell<u64>,
}

#[derive(Clone, Copy)]
struct Visitor {
    connections: u32,
    /// Thousandths of a connection that may be opened at once.
    tokens: u64,
    refilled_ms: u64,
}

impl Visitors {
    /// Admits one more connection of `ip`, or says why not. The limits are this worker's share of the process's.
    pub(super) fn enter(&self, ip: IpAddr, limits: &Limits, workers: usize, now_ms: u64) -> Result<(), Refusal> {
        let share = |limit: u32| limit.div_ceil(u32::try_from(workers).unwrap_or(1)).max(1);
        let rate = u64::from(share(limits.connection_rate_per_ip));
        let mut by_ip = self.by_ip.borrow_mut();
        if by_ip.len() >= ADDRESSES_MAX {
            by_ip.retain(|_, visitor| visitor.connections > 0);
        }
        let fresh = Visitor { connections: 0, tokens: rate * 1000, refilled_ms: now_ms };
        let visitor = by_ip.entry(ip).or_insert(fresh);
        let elapsed = now_ms.saturating_sub(visitor.refilled_ms);
        visitor.tokens = (visitor.tokens + elapsed.saturating_mul(rate)).min(rate * 1000);
        visitor.refilled_ms = now_ms;
        if visitor.connections >= share(limits.connections_per_ip) {
            return Err(Refusal::ConnectionsPerIp);
        }
        visitor.tokens = visitor.tokens.checked_sub(1000).ok_or(Refusal::ConnectionRate)?;
        visitor.connections += 1;
        Ok(())
    }

    /// A connection of `ip` has ended.
    pub(super) fn leave(&self, ip: IpAddr) {
        if let Some(visitor) = self.by_ip.borrow_mut().get_mut(&ip) {
            visitor.connections = visitor.connections.saturating_sub(1);
        }
    }

    /// Forgets addresses that have no connection and a full bucket again.
    pub(super) fn sweep(&self, now_ms: u64) {
        if now_ms < self.swept_ms.get() + SWEEP_MS {
            return;
        }
        self.swept_ms.set(now_ms);
        self.by_ip.borrow_mut().retain(|_, visitor| visitor.connections > 0 || now_ms < visitor.refilled_ms + SWEEP_MS);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IP: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    #[test]
    fn connections_of_one_address_are_bounded() {
        let limits = Limits { connections_per_ip: 2, ..Limits::default() };
        let visitors = Visitors::default();
        assert_eq!(visitors.enter(IP, &limits, 1, 0), Ok(()));
        assert_eq!(visitors.enter(IP, &limits, 1, 0), Ok(()));
        assert_eq!(visitors.enter(IP, &limits, 1, 0), Err(Refusal::ConnectionsPerIp));
        visitors.leave(IP);
        assert_eq!(visitors.enter(IP, &limits, 1, 0), Ok(()));
    }

    #[test]
    fn the_rate_of_one_address_is_bounded_and_refills() {
        let limits = Limits { connection_rate_per_ip: 10, ..Limits::default() };
        let visitors = Visitors::default();
        for _ in 0..10 {
            assert_eq!(visitors.enter(IP, &limits, 1, 0), Ok(()));
        }
        assert_eq!(visitors.enter(IP, &limits, 1, 0), Err(Refusal::ConnectionRate));
        assert_eq!(visitors.enter(IP, &limits, 1, 100), Ok(()));
        assert_eq!(visitors.enter(IP, &limits, 1, 100), Err(Refusal::ConnectionRate));
    }

    #[test]
    fn addresses_without_connections_are_forgotten() {
        let visitors = Visitors::default();
        assert_eq!(visitors.enter(IP, &Limits::default(), 1, 0), Ok(()));
        visitors.leave(IP);
        visitors.sweep(SWEEP_MS * 3);
        assert!(visitors.by_ip.borrow().is_empty());
    }
}
