//! `guard` of a route: what the default guards do, or `[[route.guard]]` tables instead of them. A guard of a rollout has
//! the same keys.

use super::guard_metric::{self, METRIC, Metric};
use super::target;
use crate::config::toml::context::Context;
use crate::config::toml::diagnostic::Finding;
use crate::config::toml::item::Item;
use crate::config::toml::reader::Reader;
use crate::config::toml::source::Span;
use crate::config::toml::spec::{KeySpec, NAME, Shape, TableSpec, default, optional, required};
use crate::config::toml::value;
use crate::route::{Guard, GuardAct, GuardTest, Guards, SIGNALS_MAX, Signal, VariantId};

/// The most guards of a route, or of a rollout.
pub(super) const GUARDS_MAX: usize = 16;

/// What the default guards do.
const MODES: &[&str] = &["warn", "rollback", "off"];

/// What follows when a guard trips, in the order of [`act_of`].
pub(super) const ACTS: &[&str] = &["warn", "hold", "rollback"];

/// `guard` of a route.
pub(super) const GUARD_KEY: Shape = Shape::Either(&[Shape::Words(MODES), Shape::Tables(&GUARD)]);

/// `[[route.guard]]`.
pub(super) const GUARD: TableSpec = TableSpec {
    title: "[[route.guard]]",
    doc: "A guard: a test of a variant against stable, or against a bound. The tables replace the default guards.",
    keys: &[
        required("name", Shape::Pattern(NAME), "Name of the guard, unique in the route."),
        optional("variant", Shape::Text, "Variant that it judges; default: each one but stable, on its own."),
        METRIC_KEY,
        WORSE_KEY,
        ABOVE_KEY,
        ALPHA_KEY,
        default(
            "act",
            Shape::Words(ACTS),
            "\"warn\"",
            "What follows when it trips. `rollback`: the variant gets no more requests; `hold` stops promotion, and only \
             warns where the weight is fixed.",
        ),
    ],
    later: &["prometheus", "scope", "warmup"],
};

/// `metric`.
pub(super) const METRIC_KEY: KeySpec = required(
    "metric",
    Shape::Either(&[Shape::Words(guard_metric::WORDS), Shape::Table(&METRIC)]),
    "What it counts. `error`: the first try failed (5xx, reset, timeout, no connection, a gRPC status of the \
     server); `lost`: no response within 60s; `sample_ratio`: the share of callers that a variant gets.",
);

/// `worse_than_stable`.
pub(super) const WORSE_KEY: KeySpec = optional(
    "worse_than_stable",
    Shape::Number(0, 30),
    "It trips on evidence that the variant's rate is more than this many times that of stable; below 30.",
);

/// `above`.
pub(super) const ABOVE_KEY: KeySpec = optional(
    "above",
    Shape::Number(0, 1),
    "It trips on evidence that the variant's rate is above this share; below 0.99. While stable is above it as \
     well, the guard only warns.",
);

/// `alpha`.
pub(super) const ALPHA_KEY: KeySpec = optional(
    "alpha",
    Shape::Number(0, 1),
    "Probability of a false alarm for each revision, 1e-6 to 0.1; default: 0.002 for `slower_than`, 0.001 for \
     `above` and `sample_ratio`, 0.003 for others.",
);

/// A range of numbers, without its ends where its words say so.
struct Bounds {
    words: &'static str,
    fits: fn(f64) -> bool,
    /// Help for a number that is too large.
    large: fn(f64) -> Option<String>,
}

const RATIO: Bounds = Bounds {
    words: "above 0 and below 30",
    fits: |ratio| ratio > 0.0 && ratio < 30.0,
    large: |ratio| {
        let help = "a bound of 30 or more leaves nothing to test for: write a smaller one, or `above`";
        (ratio >= 30.0).then(|| help.to_owned())
    },
};

const RATE: Bounds = Bounds {
    words: "above 0 and below 0.99",
    fits: |rate| rate > 0.0 && rate < 0.99,
    large: |rate| (1.0..99.0).contains(&rate).then(|| format!("write `{}` for {rate} %", rate / 100.0)),
};

const ALPHA: Bounds = Bounds {
    words: "0.000001 to 0.1",
    fits: |alpha| (1e-6..=0.1).contains(&alpha),
    large: |alpha| (alpha > 0.1).then(|| "it is the probability that a healthy release trips the guard".to_owned()),
};

/// Compiles the guards of a route but those of a rollout. `known` are the names of its variants in order; the first is
/// stable. `moved` is the rollout of the last one.
pub(super) fn guards(context: &mut Context<'_>, reader: &Reader<'_>, known: &[&str], moved: Option<&str>) -> Guards {
    debug_assert_eq!(known.first(), Some(&"stable"), "stable is variant 0");
    let item = reader.get("guard");
    let is_split = known.len() > 1;
    if let Some(rollout) = moved.filter(|_| is_split) {
        return beside_rollout(context, reader, known, rollout);
    }
    let guards = match item {
        None => Guards::defaults(GuardAct::Warn),
        Some(item) => given(context, reader, &item, known),
    };
    if is_split {
        return guards;
    }
    if item.is_some() && !guards.is_empty() && reader.get("stable").is_some() {
        let message = "this route has no variant besides stable, so no guard watches";
        let finding = Finding::warning("useless-guard", reader.place("guard"), message);
        context.report(finding.help("add `canary = { upstream = \"…\", weight = 5 }`, or remove `guard`"));
    }
    Guards::default()
}

/// The guards of a route for the variants that its rollout does not move.
fn beside_rollout(context: &mut Context<'_>, reader: &Reader<'_>, known: &[&str], rollout: &str) -> Guards {
    let Some((last, others)) = known.split_last() else { return Guards::default() };
    let item = reader.get("guard");
    let help = || format!("write `[[rollout.{rollout}.guard]]` for `{last}`, or remove it here");
    if others.len() < 2 {
        if item.is_some() {
            let message = format!("the guards of `{last}` are those of its rollout, so `guard` has no effect");
            context.report(Finding::error("useless-guard", reader.place("guard"), message).help(help()));
        }
        return Guards::default();
    }
    let guards = match item {
        None => Guards::defaults(GuardAct::Warn),
        Some(item) => given(context, reader, &item, known),
    };
    let last_id = u16::try_from(others.len()).map_or(VariantId::STABLE, VariantId);
    if guards.all.iter().any(|guard| guard.variant == Some(last_id)) {
        let message = format!("`{last}` is moved by rollout `{rollout}`, which has its guards");
        context.report(Finding::error("useless-guard", reader.place("guard"), message).help(help()));
    }
    let ids = (1..).map(VariantId).take(others.len() - 1);
    let each = |guard: Guard| -> Vec<Guard> {
        match guard.variant {
            Some(_) => vec![guard],
            None => ids.clone().map(|id| Guard { variant: Some(id), ..guard.clone() }).collect(),
        }
    };
    Guards { all: guards.all.into_iter().flat_map(each).collect(), ..guards }
}

/// The tables of the guards of a route.
pub(super) fn tables<'d>(context: &mut Context<'_>, reader: &Reader<'d>) -> Vec<Reader<'d>> {
    if reader.get("guard").is_some_and(|item| item.is_list() || item.is_table()) {
        return reader.tables(context, "guard", &GUARD);
    }
    Vec::new()
}

/// The guards by a word or by tables.
fn given(context: &mut Context<'_>, reader: &Reader<'_>, item: &Item<'_>, known: &[&str]) -> Guards {
    if item.is_list() || item.is_table() {
        return by_tables(context, reader, known);
    }
    if !item.is_text() {
        const WORDS: &str = "write `\"warn\"`, `\"rollback\"` or `\"off\"`, or `[[route.guard]]` tables";
        item.mismatch_with_help(context, "a string or a list of tables", WORDS);
        return Guards::default();
    }
    let act = match item.word(context, MODES) {
        Some(0) => GuardAct::Warn,
        Some(1) => GuardAct::Rollback,
        Some(_) | None => return Guards::default(),
    };
    Guards::defaults(act)
}

fn by_tables(context: &mut Context<'_>, reader: &Reader<'_>, known: &[&str]) -> Guards {
    let tables = tables(context, reader);
    let mut guards = Guards::default();
    let mut names: Vec<WrittenGuardName> = Vec::new();
    if tables.is_empty() && reader.get("guard").is_some_and(|item| item.is_list()) {
        let finding = Finding::error("empty-list", reader.place("guard"), "`guard` is empty");
        context.report(finding.help("write `guard = \"off\"`, so that no guard watches"));
    }
    for table in &tables {
        if guards.all.len() >= GUARDS_MAX {
            let message = format!("a route has at most {GUARDS_MAX} guards");
            context.report(Finding::error("too-many", table.span(), message));
            break;
        }
        let name = unique_name(context, table, &mut names);
        guards.all.extend(guard(context, table, known, &mut guards.signals).map(|guard| Guard { name, ..guard }));
    }
    debug_assert!(guards.signals.len() <= SIGNALS_MAX, "kinds of events are bounded");
    guards
}

/// The name of a guard, with its place.
pub(super) struct WrittenGuardName {
    pub(super) name: String,
    pub(super) at: Span,
}

/// The name of a guard for output; reports one that is defined twice.
pub(super) fn unique_name(context: &mut Context<'_>, table: &Reader<'_>, names: &mut Vec<WrittenGuardName>) -> String {
    let name = table.require(context, "name").and_then(|item| item.text(context));
    let Some(name) = name.filter(|name| value::name(context, name, name.span)) else { return String::new() };
    if let Some(first) = names.iter().find(|known| known.name == *name) {
        let finding = Finding::error("duplicate-name", name.span, format!("guard `{}` is defined twice", &*name));
        context.report(finding.label("and again here").also(first.at, "first defined here"));
    }
    context.variables.record_name(&name, name.shown());
    names.push(WrittenGuardName { name: name.to_string(), at: name.span });
    name.shown().to_owned()
}

/// Compiles one table but its name; adds its events to `signals`.
fn guard(context: &mut Context<'_>, reader: &Reader<'_>, known: &[&str], signals: &mut Vec<Signal>) -> Option<Guard> {
    let variant = reader.text(context, "variant").map(|text| {
        let found = target::variant(context, &text, known);
        if found == Some(VariantId::STABLE) {
            let message = "a guard judges a variant by comparison with stable, never stable itself";
            context.report(Finding::error("unknown-variant", text.span, message));
        }
        found
    });
    let found = judged(context, reader, signals, GuardAct::Warn);
    reader.finish(context);
    let variant = match variant {
        None => None,
        Some(found) => Some(found?),
    };
    found.map(|guard| Guard { variant, ..guard })
}

/// Compiles the metric, the test, alpha and the act of a guard; adds its events to `signals`. `usual` is the act of a
/// guard without one.
pub(super) fn judged(
    context: &mut Context<'_>,
    reader: &Reader<'_>,
    signals: &mut Vec<Signal>,
    usual: GuardAct,
) -> Option<Guard> {
    let metric = reader.require(context, "metric").and_then(|item| guard_metric::metric(context, &item));
    let test = test(context, reader, metric.as_ref());
    let alpha = reader.get("alpha").map(|item| number(context, &item, &ALPHA));
    let act = reader.word(context, "act").map_or(usual, act_of);
    let (metric, test) = (metric?, test?);
    let alpha = alpha.unwrap_or_else(|| Some(default_alpha(&metric, test)))?;
    let signal = match metric {
        Metric::SampleRatio => None,
        Metric::Rate(signal) => Some(index(context, reader, signals, signal)?),
    };
    let name = String::new();
    Some(Guard { name, variant: None, signal, test, alpha, act, near_full: false })
}

/// The index of a kind of event, which is added where it is new.
fn index(context: &mut Context<'_>, reader: &Reader<'_>, signals: &mut Vec<Signal>, signal: Signal) -> Option<usize> {
    if let Some(at) = signals.iter().position(|known| *known == signal) {
        return Some(at);
    }
    if signals.len() >= SIGNALS_MAX {
        let message = format!("the guards of a route or of a rollout count at most {SIGNALS_MAX} different metrics");
        context.report(Finding::error("too-many", reader.place("metric"), message));
        return None;
    }
    signals.push(signal);
    Some(signals.len() - 1)
}

/// The test: exactly one bound, and none for the sample ratio.
fn test(context: &mut Context<'_>, reader: &Reader<'_>, metric: Option<&Metric>) -> Option<GuardTest> {
    let (ratio, rate) = (reader.get("worse_than_stable"), reader.get("above"));
    let worse = ratio.and_then(|item| number(context, &item, &RATIO));
    let above = rate.and_then(|item| number(context, &item, &RATE));
    if matches!(metric, Some(Metric::SampleRatio)) {
        for item in [ratio, rate].into_iter().flatten() {
            let message = format!("`sample_ratio` is compared with the weights, so `{}` has no effect", item.key);
            context.report(Finding::error("useless-key", reader.place(item.key), message).help("remove it"));
        }
        return Some(GuardTest::SampleRatio);
    }
    match (ratio, rate) {
        (Some(_), Some(_)) => {
            let message = "a guard cannot have both `worse_than_stable` and `above`";
            let finding = Finding::error("ambiguous", reader.place("above"), message);
            let finding = finding.also(reader.place("worse_than_stable"), "");
            context.report(finding.help(format!("write a {} for each", reader.title())));
            None
        }
        (Some(item), None) => {
            if worse.is_some_and(|ratio| ratio < 1.0) {
                let message = "a variant that is as good as stable trips this guard";
                let finding = Finding::warning("low-bound", item.span(), message);
                context.report(finding.help("write a bound above 1: `1.1` is 10 % worse than stable"));
            }
            worse.map(GuardTest::WorseThanStable)
        }
        (None, Some(_)) => above.map(|rate| GuardTest::Above(Some(rate))),
        (None, None) => {
            let is_misspelt = ["worse_than_stable", "above"].iter().any(|key| reader.misspells(context, key));
            if metric.is_some() && !is_misspelt {
                let message = format!("`worse_than_stable` or `above` is missing in {}", reader.title());
                let finding = Finding::error("missing-key", reader.span(), message);
                let help =
                    "add `worse_than_stable = 1.1`, which compares with stable, or `above = 0.02`, a rate of 2 %";
                context.report(finding.help(help));
            }
            None
        }
    }
}

fn number(context: &mut Context<'_>, item: &Item<'_>, bounds: &Bounds) -> Option<f64> {
    let parsed = |digits: &str| digits.parse::<f64>().ok();
    let Some(digits) = item.digits() else {
        let fits = |digits: &str| parsed(digits).is_some_and(bounds.fits);
        item.mismatch_number(context, "a number", fits);
        return None;
    };
    let number = parsed(digits);
    let inside = number.filter(|number| (bounds.fits)(*number));
    if inside.is_none() {
        let message = format!("`{}` must be {}", item.key, bounds.words);
        let finding = Finding::error("out-of-range", item.span(), message);
        context.report(finding.maybe_help(number.and_then(bounds.large)));
    }
    inside
}

fn default_alpha(metric: &Metric, test: GuardTest) -> f64 {
    match (metric, test) {
        (Metric::SampleRatio, _) | (_, GuardTest::SampleRatio | GuardTest::Above(_)) => 0.001,
        (Metric::Rate(Signal::SlowerThan(_)), GuardTest::WorseThanStable(_)) => 0.002,
        (Metric::Rate(_), GuardTest::WorseThanStable(_)) => 0.003,
    }
}

pub(super) const fn act_of(word: usize) -> GuardAct {
    match word {
        0 => GuardAct::Warn,
        1 => GuardAct::Hold,
        _ => GuardAct::Rollback,
    }
}
