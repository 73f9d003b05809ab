//! `[[rollout.NAME.guard]]`: guards of all routes of a rollout together, or of each; and how they join those of a route.

use std::time::Duration;

use super::guard::{self, ABOVE_KEY, ACTS, ALPHA_KEY, GUARDS_MAX, METRIC_KEY, WORSE_KEY};
use super::http_target;
use super::http_target::DurationBounds;
use super::stage_gate::{self, EVERY_BOUNDS, NUMBER, PrometheusTable};
use crate::config::toml::context::Context;
use crate::config::toml::diagnostic::Finding;
use crate::config::toml::item::Item;
use crate::config::toml::reader::Reader;
use crate::config::toml::spec::{DURATION, KeyPresence, KeySpec, NAME, Shape, TableSpec, default, optional, required};
use crate::route::{Guard, GuardAct, GuardTest, Guards, QueryGuard, SIGNALS_MAX, Signal, VariantId};

/// How long a query must be above its bound, and how often it is asked, where the file does not say it.
const HOLD_FOR: Duration = Duration::from_mins(1);
const EVERY: Duration = Duration::from_secs(15);

/// The range of `for`.
const FOR_BOUNDS: DurationBounds =
    DurationBounds { least: Duration::from_secs(1), most: Duration::from_hours(24), words: "1s to 24h" };

/// `[[rollout.NAME.guard]]`.
pub(super) const ROLLOUT_GUARD: TableSpec = TableSpec {
    title: "[[rollout.NAME.guard]]",
    doc: "A guard of a rollout: a test of its variants against stable, against a bound, or of a query. The tables replace \
          the default guards, but near a weight of 100 one with a bound always watches.",
    keys: &[
        required("name", Shape::Pattern(NAME), "Name of the guard, unique in the rollout."),
        KeySpec { presence: KeyPresence::Optional, ..METRIC_KEY },
        WORSE_KEY,
        ABOVE_KEY,
        ALPHA_KEY,
        default(
            "scope",
            Shape::Words(&["rollout", "route"]),
            "\"rollout\"",
            "`rollout`: one test over all routes; `route`: a test of each route, with its part of `alpha`.",
        ),
        optional(
            "prometheus",
            Shape::Table(&QUERY),
            "A query of Prometheus instead of a metric; it has no stated rate of false alarms.",
        ),
        default(
            "act",
            Shape::Words(ACTS),
            "\"rollback\"",
            "What follows when it trips. `rollback`: the variants get no more requests; `hold` stops promotion; `warn` \
             only reports.",
        ),
    ],
    later: &["warmup"],
};

/// `prometheus` of a guard.
const QUERY: TableSpec = TableSpec {
    title: "[rollout.NAME.guard.prometheus]",
    doc: "A query of Prometheus that must stay below a bound.",
    keys: &[
        required("query", Shape::Text, "Query in PromQL that has one value."),
        required("above", NUMBER, "It trips above this value."),
        default("for", Shape::Pattern(DURATION), "\"1m\"", "How long the value must be above, 1s to 24h."),
        default("every", Shape::Pattern(DURATION), "\"15s\"", "How often it is asked, 1s to 1h."),
    ],
    later: &[],
};

/// The guards of a rollout.
pub(super) struct RolloutGuards {
    pub(super) guards: Guards,
    /// Those that judge each route on its own.
    pub(super) by_route: Vec<usize>,
    pub(super) queries: Vec<QueryGuard>,
}

/// Compiles the guards of a rollout.
pub(super) fn guards(
    context: &mut Context<'_>,
    reader: &Reader<'_>,
    rollout: &str,
    prometheus: PrometheusTable,
) -> RolloutGuards {
    let defaults = || Guards::defaults(GuardAct::Rollback);
    let (by_route, queries) = (Vec::new(), Vec::new());
    let Some(item) = reader.get("guard") else { return RolloutGuards { guards: defaults(), by_route, queries } };
    let mut all = RolloutGuards { guards: Guards::default(), by_route, queries };
    let tables = reader.tables(context, "guard", &ROLLOUT_GUARD);
    if tables.is_empty() && item.is_list() {
        let finding = Finding::error("empty-list", reader.place("guard"), "`guard` is empty");
        context.report(finding.help("remove it: without `guard` a rollout has guards of errors, latency and shares"));
    }
    if let Some(table) = tables.get(GUARDS_MAX) {
        let message = format!("a rollout has at most {GUARDS_MAX} guards");
        context.report(Finding::error("too-many", table.span(), message));
        return all;
    }
    let mut names = Vec::new();
    for table in tables {
        let table = table.with_name(rollout);
        let name = guard::unique_name(context, &table, &mut names);
        match table.get("prometheus") {
            Some(item) => {
                let found = query(context, &table, &item, prometheus);
                all.queries.extend(found.map(|guard| QueryGuard { name, ..guard }));
            }
            None => one(context, &table, name, &mut all),
        }
    }
    all.watch_near_full(&defaults());
    debug_assert!(all.by_route.iter().all(|at| *at < all.guards.all.len()), "indexes are of these guards");
    all
}

/// A guard that counts requests.
fn one(context: &mut Context<'_>, table: &Reader<'_>, name: String, all: &mut RolloutGuards) {
    let by_route = table.word(context, "scope") == Some(1);
    let found = guard::judged(context, table, &mut all.guards.signals, GuardAct::Rollback);
    table.finish(context);
    let Some(guard) = found else { return };
    if by_route {
        all.by_route.push(all.guards.all.len());
    }
    all.guards.all.push(Guard { name, ..guard });
}

/// A guard that asks Prometheus.
fn query<'d>(
    context: &mut Context<'_>,
    table: &Reader<'d>,
    item: &Item<'d>,
    prometheus: PrometheusTable,
) -> Option<QueryGuard> {
    for key in ["metric", "worse_than_stable", "above", "alpha", "scope"] {
        if table.get(key).is_some() {
            let message = format!("this guard asks Prometheus, so `{key}` has no effect");
            let finding = Finding::error("useless-key", table.place(key), message);
            let help = match key {
                "above" => "write it in `prometheus = { query = \"…\", above = 1000 }`".to_owned(),
                _ => format!("remove it, or write another {} for it", table.title()),
            };
            context.report(finding.help(help));
        }
    }
    let act = table.word(context, "act").map_or(GuardAct::Rollback, guard::act_of);
    table.finish(context);
    stage_gate::need_prometheus(context, item, prometheus);
    let reader = item.table(context, &QUERY)?.with_name(table.name());
    let query = stage_gate::query_text(context, &reader);
    let is_given = reader.require(context, "above").is_some();
    let above = stage_gate::number(context, &reader, "above").filter(|_| is_given);
    let hold_for = http_target::bounded(context, &reader, "for", &FOR_BOUNDS).unwrap_or(HOLD_FOR);
    let every = http_target::bounded(context, &reader, "every", &EVERY_BOUNDS).unwrap_or(EVERY);
    reader.finish(context);
    let (name, place) = (String::new(), context.location(table.span()));
    Some(QueryGuard { name, place, query: query?, above: above?, hold_for, every, act })
}

impl RolloutGuards {
    /// Adds the default guard near a weight of 100, where none of the guards has a bound for errors. It acts as the
    /// strongest of them.
    fn watch_near_full(&mut self, defaults: &Guards) {
        let errors = |guard: &Guard| {
            let signal = guard.signal.and_then(|at| self.guards.signals.get(at));
            matches!(guard.test, GuardTest::Above(_)) && signal == Some(&Signal::Error)
        };
        let is_taken = self.guards.all.iter().any(|guard| errors(guard) || guard.name == "near-full");
        let act = self.guards.all.iter().map(|guard| guard.act).max();
        let (Some(act), Some(usual)) = (act, defaults.all.iter().find(|guard| guard.near_full)) else { return };
        let known = self.guards.signals.iter().position(|signal| *signal == Signal::Error);
        if is_taken || known.is_none() && self.guards.signals.len() >= SIGNALS_MAX {
            return;
        }
        let signal = known.unwrap_or_else(|| {
            self.guards.signals.push(Signal::Error);
            self.guards.signals.len() - 1
        });
        self.guards.all.push(Guard { signal: Some(signal), act, ..usual.clone() });
    }
}

/// The guards of a route whose last variant a rollout moves: its own for the others, and those of the rollout.
pub(super) fn merged(
    context: &mut Context<'_>,
    reader: &Reader<'_>,
    own: Guards,
    rollout: &Guards,
    last: VariantId,
) -> Guards {
    debug_assert!(last != VariantId::STABLE, "a rollout moves a variant");
    let by_default = rollout.by_default && (own.is_empty() || own.by_default);
    let mut merged = Guards { by_default, ..own };
    for guard in &rollout.all {
        let signal = guard.signal.and_then(|at| rollout.signals.get(at)).map(|signal| {
            merged.signals.iter().position(|known| known == signal).unwrap_or_else(|| {
                merged.signals.push(signal.clone());
                merged.signals.len() - 1
            })
        });
        merged.all.push(Guard { variant: Some(last), signal, ..guard.clone() });
    }
    if merged.signals.len() > SIGNALS_MAX {
        let count = merged.signals.len();
        let message = format!(
            "the guards of this route and of its rollout count {count} different metrics, at most {SIGNALS_MAX}"
        );
        let finding = Finding::error("too-many", reader.place("guard"), message);
        context.report(finding.help("use the same metrics in both, or fewer"));
    }
    merged
}
