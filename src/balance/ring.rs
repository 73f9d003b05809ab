//! A hash ring: each endpoint has many points on a circle, by its address and weight, and a key belongs to the next point.
//! An endpoint that may not be chosen is passed over, so that only its own keys move, and they move to many others.
//!
//! The ring is made once for a set of endpoints, and all workers share it. A unit of weight has 4 096 points, up to a sum
//! of weights of 128: the points of one endpoint do not depend on the others then, and a change moves no more keys than it
//! must. Above that sum all share a bounded number of points by their weights: a change takes a few points of each
//! endpoint, or adds some, and moves about twice the keys that it must.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// Points of a unit of weight: shares deviate by 1.6 % (one standard deviation).
const POINTS: u32 = 4_096;
/// Points of a ring, but for at least one an endpoint: 4 MiB.
const POINTS_MAX: u64 = 1 << 19;
/// Points that a search passes over. After that, the keys of what is passed over are spread by another hash.
const PASSED_MAX: usize = 512;

/// What an endpoint is on a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingMember {
    seed: u64,
    weight: u32,
}

/// A hash ring.
#[derive(Debug)]
pub struct HashRing {
    members: Box<[RingMember]>,
    /// The place of each point in the upper half, and the index of its endpoint in the lower half; sorted.
    points: Box<[u64]>,
    /// For each part of the circle, the index of the first point in or after it.
    starts: Box<[u32]>,
    /// The shift that makes a part out of a place.
    shift: u32,
}

impl RingMember {
    /// The members for endpoints with these addresses and weights. An address that is listed twice has other points the
    /// second time.
    pub fn all(endpoints: impl Iterator<Item = (SocketAddr, u32)>) -> Vec<Self> {
        let mut seen: HashMap<SocketAddr, u64> = HashMap::new();
        let one = |(address, weight): (SocketAddr, u32)| {
            let nth = seen.entry(address).or_insert(0);
            let own = hashed(address).wrapping_add(*nth);
            *nth += 1;
            Self { seed: own, weight: weight.max(1) }
        };
        endpoints.map(one).collect()
    }
}

fn hashed(address: SocketAddr) -> u64 {
    let port = u64::from(address.port());
    match address.ip() {
        IpAddr::V4(ip) => xxh3_64_with_seed(&ip.octets(), port),
        IpAddr::V6(ip) => xxh3_64_with_seed(&ip.octets(), port),
    }
}

impl HashRing {
    /// The ring of these members.
    #[must_use]
    pub fn new(members: Vec<RingMember>) -> Self {
        let sum: u64 = members.iter().map(|member| u64::from(member.weight)).sum();
        let points_of = |member: &RingMember| {
            let weight = u64::from(member.weight);
            (weight * u64::from(POINTS)).min((weight * POINTS_MAX / sum.max(1)).max(1))
        };
        let mut points = Vec::new();
        for (at, member) in (0_u64..).zip(&members) {
            let place = |nth: u64| xxh3_64_with_seed(&nth.to_le_bytes(), member.seed) >> 32;
            points.extend((0..points_of(member)).map(|nth| place(nth) << 32 | at));
        }
        points.sort_unstable();
        // About four points a part.
        let bits = (points.len() / 4).checked_ilog2().unwrap_or(0);
        let shift = 32 - bits;
        let mut first = 0;
        let mut start = |part: u64| {
            first += points[first..].iter().take_while(|point| **point >> 32 < part << shift).count();
            u32::try_from(first).unwrap_or(u32::MAX)
        };
        let starts = (0..1_u64 << bits).map(&mut start).collect();
        debug_assert!(points.len() >= members.len(), "each has a point");
        Self { members: members.into(), points: points.into(), starts, shift }
    }

    /// The members that it was made of.
    #[must_use]
    pub fn members(&self) -> &[RingMember] {
        &self.members
    }

    /// Bytes that it takes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        size_of_val(&*self.members) + size_of_val(&*self.points) + size_of_val(&*self.starts)
    }

    /// The endpoint that a key belongs to, of those that are accepted.
    #[must_use]
    pub fn find(&self, key: u64, accept: impl Fn(usize) -> bool) -> Option<usize> {
        self.find_near(key, &accept).or_else(|| self.spread(key, accept))
    }

    /// The same, but `None` where too many are passed over: the search takes bounded time.
    #[must_use]
    pub fn find_near(&self, key: u64, accept: impl Fn(usize) -> bool) -> Option<usize> {
        let first = self.first(xxh3_64(&key.to_le_bytes()) >> 32);
        let mut last = usize::MAX;
        for point in self.points[first..].iter().chain(&self.points).take(PASSED_MAX.min(self.points.len())) {
            let at = index(*point);
            if at != last && accept(at) {
                return Some(at);
            }
            last = at;
        }
        None
    }

    /// Where nearly all are passed over: the accepted one with the highest hash of key and endpoint.
    #[cold]
    fn spread(&self, key: u64, accept: impl Fn(usize) -> bool) -> Option<usize> {
        let accepted = self.members.iter().enumerate().filter(|(at, _)| accept(*at));
        let best = accepted.max_by_key(|(_, member)| xxh3_64_with_seed(&key.to_le_bytes(), member.seed));
        best.map(|(at, _)| at)
    }

    /// The index of the first point at or after this place; behind the last one, the first.
    #[inline]
    fn first(&self, place: u64) -> usize {
        debug_assert!(place >> 32 == 0, "a place has 32 bits");
        #[expect(clippy::cast_possible_truncation, reason = "a part of at most 32 bits")]
        let from = self.starts.get((place >> self.shift) as usize).map_or(0, |start| *start as usize);
        let behind = self.points[from..].iter().take_while(|point| **point >> 32 < place).count();
        if from + behind < self.points.len() { from + behind } else { 0 }
    }
}

/// The endpoint of a point.
#[expect(clippy::cast_possible_truncation, reason = "the lower half")]
const fn index(point: u64) -> usize {
    point as u32 as usize
}
