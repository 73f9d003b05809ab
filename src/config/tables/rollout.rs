//! `[rollout.NAME]`: the plan of a release.

use jiff::tz::TimeZone;

use super::approvers;
use super::client_tls::SystemRoots;
use super::freeze::{self, FREEZE};
use super::known_rollouts::ReadRollout;
use super::notify::{NOTIFY_KEY, Receivers};
use super::rollout_guard::{self, ROLLOUT_GUARD};
use super::rollout_stage::{self, ReadStage, STAGE, StageContext};
use super::stage_gate::{GateContext, PrometheusTable, millis};
use super::{rollout_dates, stage_order, zone};
use crate::config::toml::context::Context;
use crate::config::toml::diagnostic::Finding;
use crate::config::toml::item::{Item, Named};
use crate::config::toml::reader::Reader;
use crate::config::toml::spec::{DATE, DURATION, KeySpec, Shape, TableSpec, default, optional, required};
use crate::config::toml::value;
use crate::route::{Overdue, OverdueAct, Rollout, RolloutNotes, RolloutPlan, Weight};

/// The most stages of a rollout.
const STAGES_MAX: usize = 50;

/// The longest text for people, in bytes.
const TEXT_BYTES_MAX: usize = 256;

/// `[rollout.NAME]`.
pub(in crate::config) const ROLLOUT: TableSpec = TableSpec {
    title: "[rollout.NAME]",
    doc: "The plan of a release in stages. A variant is moved by it with `rollout = \"NAME\"`; several routes may share one.",
    keys: &[
        optional("owner", Shape::Text, "Who owns the release."),
        optional("ticket", Shape::Text, "The ticket of the change."),
        default("zone", Shape::Text, "\"UTC\"", "Time zone of its dates, an IANA name such as `Europe/Paris`."),
        optional(
            "expires",
            Shape::Pattern(DATE),
            "Last day of the plan, such as `2026-12-31`, without quotes. After it, the rollout goes on to no further \
             stage and `check` refuses the file; `run` and a reload only warn.",
        ),
        optional(
            "approvers",
            Shape::Map(&Shape::OneOrMore(&Shape::Text)),
            "Who may approve, by role: names of tokens or users.",
        ),
        default("same_person", Shape::Boolean, "false", "One person may fill several roles of a stage."),
        FREEZE,
        default(
            "max_weight",
            Shape::Number(0, 100),
            "100",
            "Ceiling of the weight in percent; lowering it lowers the weight at once, raising it permits more.",
        ),
        optional(
            "max_tenants",
            Shape::Integer(1, i64::MAX),
            "The most distinct tenants that have got the canary, by an estimate, before the weight is raised.",
        ),
        default(
            "requires",
            Shape::OneOrMore(&Shape::Text),
            "[]",
            "Stages that other rollouts must have reached, as `rollout:stage`; while one has not, the weight is 0.",
        ),
        optional("on_rollback", Shape::Table(&ON_ROLLBACK), "How a rollback is done."),
        optional("on_inconclusive", Shape::Table(&ON_INCONCLUSIVE), "What follows when the evidence stays too little."),
        optional("on_no_traffic", Shape::Table(&ON_NO_TRAFFIC), "What follows when no request comes."),
        optional("change", Shape::Table(&CHANGE), "What kind of change it is, for people."),
        default("rehearsal", Shape::Boolean, "false", "Its rollback may be rehearsed on live traffic."),
        required("stage", Shape::Tables(&STAGE), "The stages, in order."),
        optional(
            "guard",
            Shape::Tables(&ROLLOUT_GUARD),
            "Guards instead of the default ones, which are errors (1.1 times stable), latency (1.5 times), the sample \
             ratio, and from a weight of 90 on a bound for errors.",
        ),
        NOTIFY_KEY,
    ],
    later: &[],
};

/// `on_rollback`.
const ON_ROLLBACK: TableSpec = TableSpec {
    title: "[rollout.NAME.on_rollback]",
    doc: "How a rollback is done.",
    keys: &[default(
        "over",
        Shape::Pattern(DURATION),
        "\"0s\"",
        "How long the weight takes to fall to 0, at most 1h; `0s`: at once.",
    )],
    later: &[],
};

const ACTS: &[&str] = &["hold", "rollback"];

/// `on_inconclusive`.
const ON_INCONCLUSIVE: TableSpec = overdue("[rollout.NAME.on_inconclusive]");

/// `on_no_traffic`.
const ON_NO_TRAFFIC: TableSpec = overdue("[rollout.NAME.on_no_traffic]");

const fn overdue(title: &'static str) -> TableSpec {
    TableSpec { title, doc: "What follows when a stage waits for too long.", keys: OVERDUE, later: &[] }
}

const OVERDUE: &[KeySpec] = &[
    required("after", Shape::Pattern(DURATION), "After so long in the stage."),
    default("act", Shape::Words(ACTS), "\"hold\"", "`hold` keeps the weight, `rollback` takes it back."),
];

/// `change`.
const CHANGE: TableSpec = TableSpec {
    title: "[rollout.NAME.change]",
    doc: "What kind of change it is, for people: nothing is decided by it.",
    keys: &[
        optional("visible", Shape::Boolean, "Users notice it."),
        optional("breaking", Shape::Boolean, "Clients must change."),
        optional("reversible", Shape::Boolean, "It can be taken back without loss."),
        optional("data", Shape::Text, "How data change, such as `expand/contract`."),
    ],
    later: &[],
};

/// What rollouts need to know.
pub(in crate::config) struct RolloutContext<'a> {
    pub(in crate::config) prometheus: PrometheusTable,
    pub(in crate::config) system: &'a mut SystemRoots,
    pub(in crate::config) receivers: &'a mut Receivers,
}

/// Compiles one rollout; `None` if it is no table.
pub(super) fn rollout<'d>(
    context: &mut Context<'_>,
    named: &Named<'d>,
    of: &mut RolloutContext<'_>,
) -> Option<ReadRollout<'d>> {
    let reader = named.item.table(context, &ROLLOUT)?.with_name(named.name);
    let (zone, zone_name) = zone_of(context, &reader);
    let expiry = rollout_dates::expires(context, &reader, &zone);
    let approvers = approvers::approvers(context, &reader);
    let freeze = freeze::freezes(context, &reader, &zone);
    let ceiling = reader.get("max_weight").map_or(Some(Weight::FULL), |item| value::weight(context, &item));
    let ceiling = ceiling.unwrap_or(Weight::FULL);
    let gates = GateContext { rollout: named.name, prometheus: of.prometheus, system: of.system };
    let mut stages = StageContext { zone: &zone, approvers: &approvers, gates, webhooks: Vec::new() };
    let read = read_stages(context, &reader, &mut stages, ceiling);
    let webhooks = stages.webhooks;
    let found = rollout_guard::guards(context, &reader, named.name, of.prometheus);
    let about =
        RolloutNotes { zone: zone_name, expires: expiry.as_ref().map(|e| e.text.clone()), ..notes(context, &reader) };
    let plan = RolloutPlan {
        stages: read.into_iter().map(|one| one.stage).collect(),
        max_weight: ceiling.millionths(),
        max_tenants: reader.integer(context, "max_tenants").and_then(|most| u64::try_from(most).ok()),
        requires: Vec::new(),
        rollback_over_ms: rollback_over(context, &reader),
        on_inconclusive: overdue_of(context, &reader, "on_inconclusive", &ON_INCONCLUSIVE),
        on_no_traffic: overdue_of(context, &reader, "on_no_traffic", &ON_NO_TRAFFIC),
        same_person: approvers.same_person,
    };
    let requires = reader.get("requires").map(|item| item.one_or_more()).unwrap_or_default();
    let requires = requires.iter().filter_map(|item: &Item<'_>| item.text(context)).collect();
    let notify = of.receivers.read(context, reader.get("notify"));
    reader.finish(context);
    let rollout = Rollout {
        name: named.name.to_owned(),
        place: context.location(reader.span()),
        plan,
        approvers: approvers.roles,
        freeze,
        expires_ms: expiry.map(|expiry| expiry.ms),
        guards: found.guards,
        by_route: found.by_route,
        queries: found.queries,
        webhooks,
        notify,
        members: Vec::new(),
        about,
    };
    Some(ReadRollout { rollout, reader, name_at: named.span, requires })
}

/// The zone of the dates, and its name.
fn zone_of(context: &mut Context<'_>, reader: &Reader<'_>) -> (TimeZone, String) {
    let utc = || (TimeZone::UTC, "UTC".to_owned());
    let Some(text) = reader.shown_text(context, "zone") else { return utc() };
    zone::zone(context, &text, text.span).map_or_else(utc, |zone| (zone, text.to_string()))
}

fn read_stages<'d>(
    context: &mut Context<'_>,
    reader: &Reader<'d>,
    of: &mut StageContext<'_, 'd>,
    ceiling: Weight,
) -> Vec<ReadStage<'d>> {
    let tables = reader.tables(context, "stage", &STAGE);
    if let Some(table) = tables.get(STAGES_MAX) {
        let message = format!("a rollout has at most {STAGES_MAX} stages");
        context.report(Finding::error("too-many", table.span(), message));
        return Vec::new();
    }
    if tables.is_empty() && !reader.misspells(context, "stage") && reader.get("stage").is_none_or(|item| item.is_list())
    {
        let message = format!("{} has no stage", reader.title());
        let help = format!("add `[[rollout.{}.stage]]` with `name` and `weight`", of.gates.rollout);
        context.report(Finding::error("no-stage", reader.span(), message).help(help));
    }
    let errors = context.errors();
    let count = tables.len();
    let read: Vec<_> = tables
        .into_iter()
        .enumerate()
        .filter_map(|(at, table)| {
            let table = table.with_name(of.gates.rollout);
            rollout_stage::stage(context, table, at, of)
        })
        .collect();
    debug_assert!(read.len() == count || context.errors() > errors, "a stage that is not compiled has an error");
    stage_order::check(context, &read, ceiling);
    read
}

/// What a plan says to people.
fn notes(context: &mut Context<'_>, reader: &Reader<'_>) -> RolloutNotes {
    let (owner, ticket) = (note(context, reader, "owner"), note(context, reader, "ticket"));
    let rehearsal = reader.get("rehearsal").and_then(|item| item.boolean(context)).unwrap_or(false);
    let mut notes = RolloutNotes { owner, ticket, rehearsal, ..RolloutNotes::default() };
    if let Some(change) = reader.table(context, "change", &CHANGE).map(|table| table.with_name(reader.name())) {
        let flag = |context: &mut Context<'_>, key| change.get(key).and_then(|item: Item<'_>| item.boolean(context));
        notes.visible = flag(context, "visible");
        notes.breaking = flag(context, "breaking");
        notes.reversible = flag(context, "reversible");
        notes.data = note(context, &change, "data");
        change.finish(context);
    }
    notes
}

fn note(context: &mut Context<'_>, reader: &Reader<'_>, key: &'static str) -> Option<String> {
    let text = reader.text(context, key)?;
    if text.len() > TEXT_BYTES_MAX {
        let message = format!("`{key}` has at most {TEXT_BYTES_MAX} bytes");
        context.report(Finding::error("out-of-range", text.span, message));
    }
    Some(text.shown().to_owned())
}

fn rollback_over(context: &mut Context<'_>, reader: &Reader<'_>) -> u64 {
    const MOST_MS: u64 = 3_600_000;
    let Some(table) = reader.table(context, "on_rollback", &ON_ROLLBACK) else { return 0 };
    let table = table.with_name(reader.name());
    let over = table.get("over").and_then(|item| {
        let over = millis(value::duration(context, &item)?);
        if over > MOST_MS {
            item.refuse(context, "out-of-range", "`over` must be 0s to 1h");
        }
        Some(over.min(MOST_MS))
    });
    table.finish(context);
    over.unwrap_or(0)
}

fn overdue_of(
    context: &mut Context<'_>,
    reader: &Reader<'_>,
    key: &'static str,
    spec: &'static TableSpec,
) -> Option<Overdue> {
    let table = reader.table(context, key, spec)?.with_name(reader.name());
    let after = table.require(context, "after").and_then(|item| {
        let after = value::duration(context, &item)?;
        if after.is_zero() {
            let finding = Finding::error(
                "out-of-range",
                item.span(),
                "`after` cannot be zero: each stage begins with no evidence",
            );
            context.report(finding.help(format!("write how long to wait, such as `\"6h\"`, or remove `{key}`")));
            return None;
        }
        Some(after)
    });
    let act = if table.word(context, "act") == Some(1) { OverdueAct::Rollback } else { OverdueAct::Hold };
    table.finish(context);
    Some(Overdue { after_ms: millis(after?), act })
}
