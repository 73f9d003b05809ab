//! A request and its tries.

use http::Method;
use pointsman::failover::{Resendable, Tries};

use super::arm::{Picked, Why};

/// A request, from its arrival to its end.
pub struct Request {
    pub id: u64,
    pub worker: usize,
    pub arm: usize,
    pub began_us: u64,
    pub method: Method,
    /// What of it could be sent again.
    pub resendable: Resendable,
    pub tried: Vec<usize>,
    pub past: Tries,
    pub picked: Picked,
    pub epoch: u32,
    /// Connections to the present endpoint so far.
    pub connections: u32,
    pub reused: bool,
    /// How often it was written.
    pub sent: u32,
    /// No try has failed before.
    pub is_first: bool,
    pub try_began_us: u64,
    pub rescued: bool,
}

impl Request {
    /// A GET that arrives now.
    pub fn new(arm: usize, now_us: u64) -> Self {
        Self {
            id: 0,
            worker: 0,
            arm,
            began_us: now_us,
            method: Method::GET,
            resendable: Resendable::Bodiless,
            tried: Vec::new(),
            past: Tries::default(),
            picked: Picked { at: 0, why: Why::Usable },
            epoch: 0,
            connections: 0,
            reused: false,
            sent: 0,
            is_first: true,
            try_began_us: now_us,
            rescued: false,
        }
    }
}

/// A method by its share, and what of the request is kept.
pub fn draw(get_percent: u32, random: &mut fastrand::Rng) -> (Method, Resendable) {
    let kept = |share: u8, random: &mut fastrand::Rng| {
        if random.u8(0..100) < share { Resendable::Whole } else { Resendable::No }
    };
    if random.u32(0..100) < get_percent {
        (Method::GET, Resendable::Bodiless)
    } else if random.bool() {
        // Over HTTP/2 the body is kept, since a stream may be refused.
        (Method::POST, kept(50, random))
    } else {
        (Method::PUT, kept(70, random))
    }
}
