//! How a try ends, by what its server does.

use pointsman::failover::{FailureCause, Reached};
use pointsman::route::RetryCondition;

use super::server::{Behaviour, Server};

/// Time limits of a connection and of a try.
pub const CONNECT_US: u64 = 1_000_000;
const PER_TRY_US: u64 = 1_000_000;

/// How a try ends.
#[derive(Clone, Copy, Debug)]
pub enum Outcome {
    Good,
    BrokenBody,
    Failed { cause: FailureCause, reached: Reached, condition: Option<RetryCondition> },
}

/// How a try of a server ends, and after which time.
pub fn outcome(server: &Server, reused: bool, now_us: u64, random: &mut fastrand::Rng) -> (Outcome, u64) {
    let failed = |cause, reached, condition| Outcome::Failed { cause, reached, condition: Some(condition) };
    let behaviour = server.at(now_us);
    let unconnected = |cause| failed(cause, Reached::Unsent, RetryCondition::Connect);
    let sent_us = match behaviour {
        _ if reused => 0,
        Behaviour::Refuses => return (unconnected(FailureCause::ConnectRefused), 200),
        Behaviour::BlackHole => return (unconnected(FailureCause::ConnectTimeout), CONNECT_US),
        Behaviour::Answers { .. }
        | Behaviour::Freezes
        | Behaviour::Unavailable { .. }
        | Behaviour::Resets { .. }
        | Behaviour::BreaksBodies { .. } => 300,
    };
    let reset = failed(FailureCause::Reset, Reached::Unanswered, RetryCondition::ResetBeforeHead);
    let mut hits = |percent| random.u32(0..100) < percent;
    let (outcome, mean_ms) = match behaviour {
        Behaviour::Unavailable { percent } if hits(percent) => {
            (failed(FailureCause::Status, Reached::Answered, RetryCondition::Status(503)), 1)
        }
        Behaviour::Resets { percent } if hits(percent) => (reset, 2),
        Behaviour::BreaksBodies { percent } if hits(percent) => (Outcome::BrokenBody, 6),
        Behaviour::Answers { ms } => (Outcome::Good, ms),
        Behaviour::Freezes | Behaviour::BlackHole | Behaviour::Refuses => (Outcome::Good, u64::MAX / 10_000),
        Behaviour::Unavailable { .. } | Behaviour::Resets { .. } | Behaviour::BreaksBodies { .. } => (Outcome::Good, 5),
    };
    let length_us = mean_ms * random.u64(500..1500);
    let timeout = failed(FailureCause::Timeout, Reached::Unanswered, RetryCondition::Timeout);
    match server.change_within(now_us + sent_us, now_us + sent_us + length_us.min(PER_TRY_US)) {
        Some((at_us, Behaviour::Refuses)) => (reset, at_us - now_us),
        Some((_, Behaviour::Freezes | Behaviour::BlackHole)) => (timeout, sent_us + PER_TRY_US),
        _ if length_us > PER_TRY_US => (timeout, sent_us + PER_TRY_US),
        _ => (outcome, sent_us + length_us),
    }
}
