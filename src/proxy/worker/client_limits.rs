//! Limits per client address: connections, the rate of new connections, and the rate of HTTP/2 stream resets over all
//! its connections. They keep one address from using up the limits of all. Workers share the table, because a
//! connection may arrive on any worker; it is locked when a connection opens or closes and when a stream is reset,
//! never for a request.

use std::net::IpAddr;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ahash::{HashMap, RandomState};

use crate::route::Limits;
use crate::telemetry::Refusal;

/// Limit on the addresses in the table; beyond, addresses without a connection are removed.
const ADDRESSES_MAX: usize = 65_536;
/// The table is split into parts with a lock each.
const PARTS: usize = 16;
/// How often addresses without a connection are removed.
const SWEEP_MS: u64 = 10_000;

/// The client addresses with connections to this process.
#[derive(Debug)]
pub struct PerClientLimits {
    parts: [Mutex<HashMap<IpAddr, ClientState>>; PARTS],
    hasher: RandomState,
    swept_ms: AtomicU64,
}

#[derive(Debug)]
struct ClientState {
    connections: u32,
    /// Rate of new connections.
    openings: Bucket,
    /// Rate of stream resets.
    resets: Bucket,
    /// Requests in flight, on all workers.
    requests: Arc<AtomicI64>,
}

/// A token bucket with a burst of one second.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    /// Thousandths of a token.
    tokens: u64,
    refilled_ms: u64,
}

impl Bucket {
    fn full(rate: u32, now_ms: u64) -> Self {
        Self { tokens: u64::from(rate) * 1000, refilled_ms: now_ms }
    }

    /// Refills the bucket; returns whether it has a token.
    fn has_one(&mut self, rate: u32, now_ms: u64) -> bool {
        let (rate, elapsed) = (u64::from(rate), now_ms.saturating_sub(self.refilled_ms));
        self.tokens = (self.tokens + elapsed.saturating_mul(rate)).min(rate * 1000);
        self.refilled_ms = self.refilled_ms.max(now_ms);
        self.tokens >= 1000
    }

    /// Takes `n` tokens, or all when there are fewer; returns whether there were enough.
    fn take(&mut self, n: u32, rate: u32, now_ms: u64) -> bool {
        self.has_one(rate, now_ms);
        let wanted = u64::from(n) * 1000;
        let enough = self.tokens >= wanted;
        self.tokens = self.tokens.saturating_sub(wanted);
        enough
    }
}

impl Default for PerClientLimits {
    fn default() -> Self {
        Self { parts: Default::default(), hasher: RandomState::new(), swept_ms: AtomicU64::new(0) }
    }
}

impl PerClientLimits {
    fn part(&self, ip: IpAddr) -> MutexGuard<'_, HashMap<IpAddr, ClientState>> {
        let at = usize::try_from(self.hasher.hash_one(ip)).unwrap_or(0) % PARTS;
        self.parts[at].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Admits a connection of `ip`, or returns the limit that refuses it. `now` is the time since the process started.
    /// Returns the count of the address's requests on all workers.
    pub(crate) fn admit_connection(
        &self,
        ip: IpAddr,
        limits: &Limits,
        now: Duration,
    ) -> Result<Arc<AtomicI64>, Refusal> {
        let now_ms = millis(now);
        let mut part = self.part(ip);
        if part.len() >= ADDRESSES_MAX / PARTS {
            part.retain(|_, client| client.connections > 0);
        }
        let fresh = || ClientState {
            connections: 0,
            openings: Bucket::full(limits.connection_rate_per_ip, now_ms),
            resets: Bucket::full(limits.h2_resets_per_ip, now_ms),
            requests: Arc::default(),
        };
        let client = part.entry(ip).or_insert_with(fresh);
        if client.connections >= limits.connections_per_ip {
            return Err(Refusal::ConnectionsPerIp);
        }
        // Without this check, a client over the reset limit would continue with a new connection.
        if !client.resets.has_one(limits.h2_resets_per_ip, now_ms) {
            return Err(Refusal::H2ResetsPerIp);
        }
        if !client.openings.take(1, limits.connection_rate_per_ip, now_ms) {
            return Err(Refusal::ConnectionRate);
        }
        client.connections += 1;
        Ok(Arc::clone(&client.requests))
    }

    /// Admits `n` stream resets of `ip`, which has a connection, or returns the limit that refuses them.
    pub(crate) fn admit_resets(&self, ip: IpAddr, n: u32, limits: &Limits, now: Duration) -> Result<(), Refusal> {
        let (mut part, rate) = (self.part(ip), limits.h2_resets_per_ip);
        let admitted = part.get_mut(&ip).is_none_or(|client| client.resets.take(n, rate, millis(now)));
        if admitted { Ok(()) } else { Err(Refusal::H2ResetsPerIp) }
    }

    /// Removes a connection of `ip`.
    pub(crate) fn release_connection(&self, ip: IpAddr) {
        if let Some(client) = self.part(ip).get_mut(&ip) {
            debug_assert!(client.connections > 0, "every connection is released once");
            client.connections = client.connections.saturating_sub(1);
        }
    }

    /// Removes addresses without a connection and with a full bucket, every [`SWEEP_MS`].
    pub(crate) fn sweep(&self, now: Duration) {
        let (now_ms, swept_ms) = (millis(now), self.swept_ms.load(Relaxed));
        let due = now_ms >= swept_ms + SWEEP_MS;
        if !due || self.swept_ms.compare_exchange(swept_ms, now_ms, Relaxed, Relaxed).is_err() {
            return;
        }
        for part in &self.parts {
            let mut part = part.lock().unwrap_or_else(PoisonError::into_inner);
            part.retain(|_, client| client.connections > 0 || now_ms < client.openings.refilled_ms + SWEEP_MS);
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
        let clients = PerClientLimits::default();
        let enter = |ms| clients.admit_connection(IP, &limits, at(ms)).map(drop);
        assert_eq!([enter(0), enter(0), enter(0)], [Ok(()), Ok(()), Err(Refusal::ConnectionsPerIp)]);
        clients.release_connection(IP);
        assert_eq!(enter(0), Ok(()));
    }

    #[test]
    fn the_rate_of_one_address_is_bounded_and_refills() {
        let limits = Limits { connection_rate_per_ip: 10, ..Limits::default() };
        let clients = PerClientLimits::default();
        let enter = |ms| clients.admit_connection(IP, &limits, at(ms)).map(drop);
        for _ in 0..10 {
            assert_eq!(enter(0), Ok(()));
        }
        assert_eq!(enter(0), Err(Refusal::ConnectionRate));
        assert_eq!(enter(100), Ok(()));
        assert_eq!(enter(100), Err(Refusal::ConnectionRate));
        assert_eq!(enter(50), Err(Refusal::ConnectionRate), "the clock of another worker is behind");
    }

    #[test]
    fn resets_are_bounded_over_all_connections_and_refuse_new_ones() {
        let limits = Limits { h2_resets_per_ip: 10, ..Limits::default() };
        let clients = PerClientLimits::default();
        let enter = |ms| clients.admit_connection(IP, &limits, at(ms)).map(drop);
        assert_eq!([enter(0), enter(0)], [Ok(()), Ok(())]);
        let resets = |n| clients.admit_resets(IP, n, &limits, at(0));
        assert_eq!([resets(7), resets(3), resets(1)], [Ok(()), Ok(()), Err(Refusal::H2ResetsPerIp)]);
        assert_eq!(enter(50), Err(Refusal::H2ResetsPerIp));
        assert_eq!(enter(150), Ok(()));
        let other = IpAddr::from([10, 0, 0, 1]);
        assert!(clients.admit_connection(other, &limits, at(0)).is_ok());
    }

    #[test]
    fn addresses_without_connections_are_removed() {
        let clients = PerClientLimits::default();
        assert!(clients.admit_connection(IP, &Limits::default(), at(0)).is_ok());
        clients.release_connection(IP);
        clients.sweep(at(SWEEP_MS * 3));
        assert!(clients.parts.iter().all(|part| part.lock().unwrap().is_empty()));
    }
}
