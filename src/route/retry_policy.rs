//! `[route.retry]` and `rescue` as plain data: which failed tries are repeated, and for which requests.

use std::fmt;

use http::Method;

/// The names of the statuses from 1 to 16 of gRPC, as in `grpc:STATUS`.
pub const GRPC_STATUSES: [&str; 16] = [
    "cancelled",
    "unknown",
    "invalid_argument",
    "deadline_exceeded",
    "not_found",
    "already_exists",
    "permission_denied",
    "resource_exhausted",
    "failed_precondition",
    "aborted",
    "out_of_range",
    "unimplemented",
    "internal",
    "unavailable",
    "data_loss",
    "unauthenticated",
];

/// `[route.retry]`: when a failed try is repeated within the upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Further tries after the first one. Failed connections and unprocessed requests are outside this count.
    pub attempts: u32,
    /// The failures after which a request is tried again.
    pub on: RetryConditions,
    /// The methods of requests that are tried again after they were sent.
    pub methods: RetryMethods,
    /// The largest request body, in bytes, that is kept for another try.
    pub body_buffer: u32,
}

/// `rescue` of a variant: when stable answers instead of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rescue {
    /// The failures after which stable answers; empty: never.
    pub on: RetryConditions,
    /// The methods of requests for which stable answers after the variant got them.
    pub methods: RetryMethods,
}

/// One failure that a request is tried again after, as in `on`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryCondition {
    /// `connect`: no connection; nothing was sent.
    Connect,
    /// `refused_stream`: the endpoint states that it did not process the request.
    RefusedStream,
    /// `reset_before_head`: the connection or stream ended before the head of the response, or the head is invalid.
    ResetBeforeHead,
    /// `timeout`: the try took longer than `timeout.per_try`.
    Timeout,
    /// A status of the response, from 400 to 599.
    Status(u16),
    /// `grpc:STATUS`: the status of a trailers-only response, 1 to 16.
    Grpc(u8),
}

/// A set of [`RetryCondition`]s.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RetryConditions {
    /// `connect`, `refused_stream`, `reset_before_head` and `timeout`, a bit each.
    plain: u8,
    /// The gRPC statuses, a bit each.
    grpc: u32,
    /// The statuses, sorted.
    statuses: Vec<u16>,
}

/// A set of methods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetryMethods(Vec<Method>);

impl RetryCondition {
    /// The conditions that have no status.
    pub const PLAIN: [Self; 4] = [Self::Connect, Self::RefusedStream, Self::ResetBeforeHead, Self::Timeout];

    /// All statuses of gRPC but OK, in the order of their numbers.
    pub fn every_grpc() -> impl Iterator<Item = Self> {
        (1..).zip(GRPC_STATUSES).map(|(code, _)| Self::Grpc(code))
    }

    /// Whether the endpoint cannot have processed the request.
    #[must_use]
    pub const fn is_unprocessed(self) -> bool {
        matches!(self, Self::Connect | Self::RefusedStream)
    }
}

impl fmt::Display for RetryCondition {
    /// The word in `on`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect => f.write_str("connect"),
            Self::RefusedStream => f.write_str("refused_stream"),
            Self::ResetBeforeHead => f.write_str("reset_before_head"),
            Self::Timeout => f.write_str("timeout"),
            Self::Status(status) => write!(f, "{status}"),
            Self::Grpc(code) => {
                let name = code.checked_sub(1).and_then(|at| GRPC_STATUSES.get(usize::from(at)));
                debug_assert!(name.is_some(), "a status of gRPC that is retried is 1 to 16");
                write!(f, "grpc:{}", name.unwrap_or(&"?"))
            }
        }
    }
}

impl Default for RetryPolicy {
    fn default() -> Self {
        use RetryCondition::{Connect, RefusedStream, ResetBeforeHead, Status, Timeout};
        let on = [Connect, RefusedStream, ResetBeforeHead, Timeout, Status(502), Status(503), Status(504)];
        Self { attempts: 1, on: on.into_iter().collect(), methods: RetryMethods::idempotent(), body_buffer: 64 * 1024 }
    }
}

impl Default for Rescue {
    /// When no endpoint accepts a connection: nothing was sent.
    fn default() -> Self {
        Self { on: std::iter::once(RetryCondition::Connect).collect(), methods: RetryMethods::idempotent() }
    }
}

impl Rescue {
    /// Stable never answers instead.
    #[must_use]
    pub fn off() -> Self {
        Self { on: RetryConditions::default(), methods: RetryMethods::idempotent() }
    }

    /// Whether stable never answers instead.
    #[must_use]
    pub const fn is_off(&self) -> bool {
        self.on.is_empty()
    }
}

impl FromIterator<RetryCondition> for RetryConditions {
    fn from_iter<I: IntoIterator<Item = RetryCondition>>(all: I) -> Self {
        let mut set = Self::default();
        for condition in all {
            set.plain |= Self::plain_bit(condition);
            match condition {
                RetryCondition::Status(status) => set.statuses.push(status),
                RetryCondition::Grpc(code) => set.grpc |= 1_u32.wrapping_shl(u32::from(code)),
                RetryCondition::Connect
                | RetryCondition::RefusedStream
                | RetryCondition::ResetBeforeHead
                | RetryCondition::Timeout => {}
            }
        }
        set.statuses.sort_unstable();
        set.statuses.dedup();
        set
    }
}

impl fmt::Display for RetryConditions {
    /// The conditions as in `on`, separated by commas; `5xx` for all statuses from 500 to 599.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_server_error = |condition: &RetryCondition| matches!(condition, RetryCondition::Status(500..=599));
        let has_every = self.all().filter(is_server_error).count() == 100;
        let single = self.all().filter(|condition| !has_every || !is_server_error(condition));
        let words = single.map(|condition| condition.to_string()).chain(has_every.then(|| "5xx".to_owned()));
        f.write_str(&words.collect::<Vec<_>>().join(", "))
    }
}

impl RetryConditions {
    const fn plain_bit(condition: RetryCondition) -> u8 {
        match condition {
            RetryCondition::Connect => 1,
            RetryCondition::RefusedStream => 2,
            RetryCondition::ResetBeforeHead => 4,
            RetryCondition::Timeout => 8,
            RetryCondition::Status(_) | RetryCondition::Grpc(_) => 0,
        }
    }

    /// Whether a failure is in the set.
    #[must_use]
    pub fn contains(&self, condition: RetryCondition) -> bool {
        match condition {
            RetryCondition::Status(status) => self.statuses.binary_search(&status).is_ok(),
            RetryCondition::Grpc(code) => code < 32 && self.grpc & (1 << code) != 0,
            RetryCondition::Connect
            | RetryCondition::RefusedStream
            | RetryCondition::ResetBeforeHead
            | RetryCondition::Timeout => self.plain & Self::plain_bit(condition) != 0,
        }
    }

    /// The conditions of the set, in a fixed order.
    pub fn all(&self) -> impl Iterator<Item = RetryCondition> {
        let plain = RetryCondition::PLAIN.into_iter().filter(|condition| self.contains(*condition));
        let statuses = self.statuses.iter().copied().map(RetryCondition::Status);
        plain.chain(statuses).chain(RetryCondition::every_grpc().filter(|condition| self.contains(*condition)))
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.plain == 0 && self.grpc == 0 && self.statuses.is_empty()
    }

    /// Whether a status of gRPC is in the set.
    #[must_use]
    pub const fn has_grpc(&self) -> bool {
        self.grpc != 0
    }
}

impl RetryMethods {
    /// The idempotent methods (RFC 9110 §9.2.2).
    #[must_use]
    pub fn idempotent() -> Self {
        Self(vec![Method::GET, Method::HEAD, Method::OPTIONS, Method::TRACE, Method::PUT, Method::DELETE])
    }

    /// These methods.
    #[must_use]
    pub const fn new(methods: Vec<Method>) -> Self {
        Self(methods)
    }

    /// Whether a method is in the set.
    #[must_use]
    pub fn contains(&self, method: &Method) -> bool {
        self.0.contains(method)
    }

    /// The methods.
    #[must_use]
    pub fn all(&self) -> &[Method] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_has_what_it_was_made_of() {
        use RetryCondition::{Connect, Grpc, RefusedStream, ResetBeforeHead, Status, Timeout};
        let all = [Connect, RefusedStream, ResetBeforeHead, Timeout, Status(429), Status(503), Grpc(1), Grpc(14)];
        for skipped in 0..all.len() {
            let with = |at: &usize| *at != skipped;
            let set: RetryConditions = (0..all.len()).filter(with).map(|at| all[at]).collect();
            for (at, condition) in all.into_iter().enumerate() {
                assert_eq!(set.contains(condition), with(&at), "{condition:?} in all but {:?}", all[skipped]);
            }
            assert!(!set.is_empty());
            assert_eq!(set.all().collect::<RetryConditions>(), set, "the set is made of its conditions");
        }
        assert!(RetryConditions::default().is_empty() && Rescue::off().is_off());
        assert!(!Rescue::default().is_off() && Rescue::default().on.contains(Connect));
    }

    #[test]
    fn a_condition_is_written_as_in_the_file() {
        let default_words = "connect, refused_stream, reset_before_head, timeout, 502, 503, 504";
        assert_eq!(RetryPolicy::default().on.to_string(), default_words);
        let set = |from: u16| (from..=599).map(RetryCondition::Status).collect::<RetryConditions>();
        assert_eq!((set(597).to_string(), set(499).to_string()), ("597, 598, 599".into(), "499, 5xx".into()));
        assert_eq!(RetryConditions::default().to_string(), "");
        let grpc: Vec<_> = RetryCondition::every_grpc().collect();
        assert_eq!((grpc.len(), grpc[13]), (16, RetryCondition::Grpc(14)));
        assert_eq!((grpc[0].to_string(), grpc[13].to_string()), ("grpc:cancelled".into(), "grpc:unavailable".into()));
    }
}
