//! Guards of a route: which events count, which test they feed, and what follows when it trips.

use std::time::Duration;

use super::VariantId;

/// The most kinds of events that the guards of a route may count.
pub const SIGNALS_MAX: usize = 8;

/// The guards of a route.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Guards {
    /// The kinds of events that they count, each once.
    pub signals: Vec<Signal>,
    /// The guards.
    pub all: Vec<Guard>,
    /// They are those that a route has without `[[route.guard]]`.
    pub by_default: bool,
}

/// One guard.
#[derive(Clone, Debug, PartialEq)]
pub struct Guard {
    /// The name, unique in the route.
    pub name: String,
    /// The variant that it judges; `None`: each variant but stable, alone.
    pub variant: Option<VariantId>,
    /// The index of its events in [`Guards::signals`]; `None` for the sample ratio.
    pub signal: Option<usize>,
    /// The test.
    pub test: GuardTest,
    /// The probability of a false alarm, per revision.
    pub alpha: f64,
    /// What follows when it trips.
    pub act: GuardAct,
    /// It acts from a weight of 90 on, where there is little control left.
    pub near_full: bool,
}

/// What a guard tests.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum GuardTest {
    /// The rate of the variant is at most this many times that of stable.
    WorseThanStable(f64),
    /// The rate of the variant is at most this; `None`: a bound from stable's own rate.
    Above(Option<f64>),
    /// The variants get the share of the callers that their weights promise.
    SampleRatio,
}

/// What follows when a guard trips.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum GuardAct {
    /// It is shown, logged and counted.
    Warn,
    /// Promotion stops; a static weight has none.
    Hold,
    /// The variant gets no more requests until a person resumes it, or until its upstream has another revision.
    Rollback,
}

/// A kind of event.
#[derive(Clone, Debug, PartialEq)]
pub enum Signal {
    /// The first try failed: 5xx, a reset, a timeout, no connection; a gRPC status that blames the server.
    Error,
    /// A status of the response.
    Status(Vec<StatusRange>),
    /// A gRPC status; bit `n` is code `n`.
    Grpc(u32),
    /// The upstream sent `x-pointsman-event` with this name.
    Event(String),
    /// No response head within this time from the end of the request's body.
    SlowerThan(SlowThreshold),
    /// No response head within 60 s, and the client did not leave.
    Lost,
}

/// How the first try of a request ended, as far as it is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TryOutcome {
    /// The status of the response; that of the proxy where the upstream sent none; 0: not known, or reported before.
    pub status: u16,
    /// The code of a gRPC call.
    pub grpc: Option<u8>,
    /// It counts as an error of the upstream.
    pub is_error: bool,
}

/// The time from which a response is slow.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum SlowThreshold {
    /// This time.
    Fixed(Duration),
    /// This quantile of stable's times, over the last while, taken when the weight changes.
    OfStable {
        /// Such as 0.99.
        quantile: f64,
        /// Such as ten minutes.
        over: Duration,
    },
}

/// A range of statuses, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatusRange {
    /// The first.
    pub from: u16,
    /// The last.
    pub to: u16,
}

impl Guards {
    /// The guards of a route without `[[route.guard]]`: errors, latency, the sample ratio, and a bound near a weight of
    /// 100, where little or no control is left. `act` is what follows for all but the sample
    /// ratio, which holds.
    #[must_use]
    pub fn defaults(act: GuardAct) -> Self {
        let threshold = SlowThreshold::OfStable { quantile: 0.99, over: Duration::from_mins(10) };
        let signals = vec![Signal::Error, Signal::SlowerThan(threshold)];
        let guard = |name: &str, signal, test, alpha| Guard {
            name: name.to_owned(),
            variant: None,
            signal,
            test,
            alpha,
            act,
            near_full: false,
        };
        let all = vec![
            guard("errors", Some(0), GuardTest::WorseThanStable(1.1), 0.003),
            guard("latency", Some(1), GuardTest::WorseThanStable(1.5), 0.002),
            Guard { act: GuardAct::Hold, ..guard("sample-ratio", None, GuardTest::SampleRatio, 0.001) },
            Guard { near_full: true, ..guard("near-full", Some(0), GuardTest::Above(None), 0.001) },
        ];
        debug_assert!(all.iter().filter_map(|guard| guard.signal).all(|at| at < signals.len()), "signals are listed");
        Self { signals, all, by_default: true }
    }

    /// The probability of a false rollback that they promise, per revision: the sum of alpha over those that compare with
    /// stable, and roll back. `None`: none does.
    #[must_use]
    pub fn promised_alpha(&self) -> Option<f64> {
        let promised = || self.all.iter().filter(|guard| guard.is_promised());
        promised().next().map(|_| promised().map(|guard| guard.alpha).sum())
    }

    /// Whether no guard watches.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.all.is_empty()
    }
}

impl Guard {
    /// Whether its alpha is part of the promise: it compares with stable, and rolls back.
    #[must_use]
    pub const fn is_promised(&self) -> bool {
        let compares = match self.test {
            GuardTest::WorseThanStable(_) | GuardTest::SampleRatio => true,
            GuardTest::Above(_) => false,
        };
        compares && matches!(self.act, GuardAct::Rollback)
    }
}

impl GuardAct {
    /// The word in files and output.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Warn => "warn",
            Self::Hold => "hold",
            Self::Rollback => "rollback",
        }
    }
}

impl Signal {
    /// Whether a try that ended like this is such an event.
    #[must_use]
    pub fn matches(&self, outcome: TryOutcome) -> bool {
        match self {
            Self::Error => outcome.is_error,
            Self::Status(ranges) => outcome.status > 0 && ranges.iter().any(|range| range.contains(outcome.status)),
            Self::Grpc(codes) => outcome.grpc.is_some_and(|code| code < 32 && codes >> code & 1 == 1),
            Self::Event(_) | Self::SlowerThan(_) | Self::Lost => false,
        }
    }

    /// Whether one line of `x-pointsman-event` (`NAME` or `NAME; value=12.50`) is such an event.
    #[must_use]
    pub fn matches_line(&self, line: &[u8]) -> bool {
        let Self::Event(name) = self else { return false };
        let end = line.iter().position(|byte| *byte == b';').unwrap_or(line.len());
        line[..end].trim_ascii() == name.as_bytes()
    }

    /// Whether it is an event of time: no head of a response within a while.
    #[must_use]
    pub const fn is_timed(&self) -> bool {
        matches!(self, Self::SlowerThan(_) | Self::Lost)
    }
}

impl StatusRange {
    /// Whether a status is in the range.
    #[must_use]
    pub const fn contains(self, status: u16) -> bool {
        self.from <= status && status <= self.to
    }
}
