//! Guards in words, and what changed in them.

use std::fmt;
use std::time::Duration;

use crate::route::{
    GRPC_STATUSES, Guard, GuardAct, GuardTest, Guards, Signal, SlowThreshold, Split, StatusRange, VariantId,
};

/// A duration as in the file: `1h30m`, `250ms`.
struct Written(Duration);

impl fmt::Display for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0.as_millis();
        if rest == 0 {
            return f.write_str("0s");
        }
        for (unit, ms) in [("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)] {
            let count = rest / ms;
            rest %= ms;
            if count > 0 {
                write!(f, "{count}{unit}")?;
            }
        }
        debug_assert_eq!(rest, 0, "the last unit takes the rest");
        Ok(())
    }
}

impl fmt::Display for StatusRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.from, self.to) {
            (from, to) if from == to => write!(f, "{from}"),
            (from, to) if from % 100 == 0 && to == from + 99 => write!(f, "{}xx", from / 100),
            (from, to) => write!(f, "{from}-{to}"),
        }
    }
}

impl fmt::Display for SlowThreshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(time) => write!(f, "{}", Written(*time)),
            Self::OfStable { quantile, over } => {
                // In tenths of a percent, so that 0.999 is 99.9.
                let tenths = (quantile * 1_000.0).round();
                write!(f, "p{}(stable, {})", tenths / 10.0, Written(*over))
            }
        }
    }
}

impl fmt::Display for Signal {
    /// As in `metric`: `error`, `status 404, 5xx`, `slower_than 250ms`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Error => f.write_str("error"),
            Self::Lost => f.write_str("lost"),
            Self::Status(ranges) => {
                let all: Vec<String> = ranges.iter().map(ToString::to_string).collect();
                write!(f, "status {}", all.join(", "))
            }
            Self::Grpc(bits) => {
                let named = (1_u32..).zip(GRPC_STATUSES).filter(|(code, _)| bits & (1 << code) != 0);
                write!(f, "grpc {}", named.map(|(_, name)| name).collect::<Vec<_>>().join(", "))
            }
            Self::Event(name) => write!(f, "event {name}"),
            Self::SlowerThan(threshold) => write!(f, "slower_than {threshold}"),
        }
    }
}

impl fmt::Display for GuardTest {
    /// As in the file: `worse_than_stable 1.1`, `above 0.02`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WorseThanStable(ratio) => write!(f, "worse_than_stable {ratio}"),
            Self::Above(Some(rate)) => write!(f, "above {rate}"),
            Self::Above(None) => f.write_str("above 3 times stable's rate, at least 0.01"),
            Self::SampleRatio => f.write_str("sample_ratio"),
        }
    }
}

impl Guards {
    /// What a guard counts, in the words of the file.
    #[must_use]
    pub fn metric(&self, guard: &Guard) -> String {
        match guard.signal.and_then(|at| self.signals.get(at)) {
            Some(signal) => signal.to_string(),
            None => GuardTest::SampleRatio.to_string(),
        }
    }

    /// A guard in one line, without its name: `error worse_than_stable 1.1, alpha 0.003, act rollback`.
    #[must_use]
    pub fn describe(&self, guard: &Guard) -> String {
        let Guard { name: _, variant: _, signal, test, alpha, act, near_full } = guard;
        let bound = signal.map_or_else(String::new, |_| format!(" {test}"));
        let near = if *near_full { ", from weight 90 on" } else { "" };
        format!("{}{bound}, alpha {alpha}, act {}{near}", self.metric(guard), act.name())
    }

    /// All guards in one line: `warn: errors, latency` for those by default, else each with its act.
    #[must_use]
    pub fn summary(&self) -> String {
        match Mode::of(self) {
            Mode::Off => "off".to_owned(),
            Mode::Default(act) => format!("{} ({}, by default)", act.name(), self.names()),
            Mode::Tables => {
                let each = self.all.iter().map(|guard| format!("{} ({})", guard.name, guard.act.name()));
                each.collect::<Vec<_>>().join(", ")
            }
        }
    }

    fn names(&self) -> String {
        self.all.iter().map(|guard| guard.name.as_str()).collect::<Vec<_>>().join(", ")
    }
}

/// How the guards of a route are given.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Off,
    Default(GuardAct),
    Tables,
}

impl Mode {
    fn of(guards: &Guards) -> Self {
        match guards.all.first() {
            None => Self::Off,
            Some(first) if guards.by_default => Self::Default(first.act),
            Some(_) => Self::Tables,
        }
    }

    /// `guard` as in the file; the names of the guards for tables.
    fn written(self, guards: &Guards) -> String {
        match self {
            Self::Off => "off".to_owned(),
            Self::Default(act) => act.name().to_owned(),
            Self::Tables => guards.names(),
        }
    }
}

/// The guards of a route for variants that no rollout moves, as they are written: beside a rollout, a guard of each variant
/// stands once for each.
fn own(split: &Split) -> Guards {
    let mut own = (*split.guards).clone();
    let last = u16::try_from(split.variants.len() - 1).ok().map(VariantId);
    let Some(last) = last.filter(|_| split.rollout.is_some()) else { return own };
    own.all.retain(|guard| guard.variant != Some(last));
    let others = split.variants.len().saturating_sub(2);
    let names: Vec<String> = own.all.iter().map(|guard| guard.name.clone()).collect();
    for guard in &mut own.all {
        if names.iter().filter(|name| **name == guard.name).count() == others {
            guard.variant = None;
        }
    }
    own.all.dedup_by(|a, b| a.name == b.name);
    own
}

/// The changes of the guards of a route: `search guard warn → rollback`.
pub(super) fn changes(route: &str, [old, new]: [&Split; 2]) -> Vec<String> {
    let is_split = |split: &Split| split.variants.len() > 1;
    if !is_split(old) || !is_split(new) {
        return Vec::new();
    }
    let (before, after) = (&own(old), &own(new));
    let is_moved = old.rollout.is_some() || new.rollout.is_some();
    if is_moved && (before.is_empty() || after.is_empty()) {
        return Vec::new();
    }
    let (from, to) = (Mode::of(before), Mode::of(after));
    if from != Mode::Tables || to != Mode::Tables {
        let is_same = from == to;
        let line = || format!("{route} guard {} → {}", from.written(before), to.written(after));
        return if is_same { Vec::new() } else { vec![line()] };
    }
    let mut words = Vec::new();
    for guard in &after.all {
        let name = &guard.name;
        match before.all.iter().find(|known| known.name == *name) {
            None => words.push(format!("{route} guard {name} added: {}", after.describe(guard))),
            Some(known) => {
                let changed = steps([old, new], [known, guard]);
                if !changed.is_empty() {
                    words.push(format!("{route} guard {name} {}", changed.join(", ")));
                }
            }
        }
    }
    let is_gone = |known: &&Guard| after.all.iter().all(|guard| guard.name != known.name);
    for gone in before.all.iter().filter(is_gone) {
        words.push(format!("{route} guard {} removed", gone.name));
    }
    words
}

/// What changed in one guard: `worse_than_stable 1.1 → 1.2`.
fn steps([old, new]: [&Split; 2], [from, to]: [&Guard; 2]) -> Vec<String> {
    // All fields by name, so that a new one cannot be forgotten. A signal is compared by what it counts.
    let Guard { name: _, variant, signal: _, test, alpha, act, near_full } = from;
    let judged = |split: &Split, id: Option<VariantId>| match id {
        None => "each".to_owned(),
        Some(id) => split.variants.get(usize::from(id.0)).map_or_else(String::new, |variant| variant.name.clone()),
    };
    let mut words = Vec::new();
    let mut step = |what: &str, before: String, after: String| {
        if before != after {
            let space = if what.is_empty() { "" } else { " " };
            words.push(format!("{what}{space}{before} → {after}"));
        }
    };
    step("variant", judged(old, *variant), judged(new, to.variant));
    step("metric", old.guards.metric(from), new.guards.metric(to));
    match (*test, to.test) {
        (GuardTest::WorseThanStable(a), GuardTest::WorseThanStable(b)) => {
            step("worse_than_stable", a.to_string(), b.to_string());
        }
        (GuardTest::Above(Some(a)), GuardTest::Above(Some(b))) => step("above", a.to_string(), b.to_string()),
        (a, b) => step("", a.to_string(), b.to_string()),
    }
    step("alpha", alpha.to_string(), to.alpha.to_string());
    step("act", act.name().to_owned(), to.act.name().to_owned());
    step("near_full", near_full.to_string(), to.near_full.to_string());
    words
}
