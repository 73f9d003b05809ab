//! `[[rollout.NAME.stage]]`.

use jiff::tz::TimeZone;

use super::approvers::Approvers;
use super::rollout_dates;
use super::stage_gate::{self, GATE, GateContext, ReadGate, millis};
use crate::config::toml::context::Context;
use crate::config::toml::diagnostic::Finding;
use crate::config::toml::item::Item;
use crate::config::toml::reader::Reader;
use crate::config::toml::source::Span;
use crate::config::toml::spec::{DATE, DURATION, NAME, Shape, TableSpec, default, optional, required};
use crate::config::toml::value;
use crate::route::{Gate, Require, Stage, WebhookTarget, Weight};

/// The most gates of a stage.
const GATES_MAX: usize = 8;

/// The largest number of requests or keys.
const COUNT_MAX: i64 = 1_000_000_000_000;

/// `[[rollout.NAME.stage]]`.
pub(super) const STAGE: TableSpec = TableSpec {
    title: "[[rollout.NAME.stage]]",
    doc: "A stage of a rollout: a weight, and what must hold before the stage is left. All conditions must hold; \
          approvals are asked last.",
    keys: &[
        required("name", Shape::Pattern(NAME), "Name of the stage, unique in the rollout."),
        required(
            "weight",
            Shape::Number(0, 100),
            "Share of the callers in percent, with at most four decimals, above that of the stage before.",
        ),
        default(
            "ramp",
            Shape::Pattern(DURATION),
            "\"0s\"",
            "How long the weight takes from that of the stage before; it rises while guards are clear.",
        ),
        optional(
            "not_before",
            Shape::Pattern(DATE),
            "The stage is not entered before this date and time, in the zone of the rollout, such as \
             `2026-12-07T09:00:00`, without quotes. Of a time that the clocks show twice it is the second.",
        ),
        default(
            "min_duration",
            Shape::Pattern(DURATION),
            "\"0s\"",
            "The least time in the stage, from the end of the ramp; holds, freezes and downtime do not count.",
        ),
        optional(
            "min_requests",
            Shape::Integer(0, COUNT_MAX),
            "The least number of answered requests to the canary, from the end of the ramp; default where `require` names \
             a rate: 5 divided by stable's rate of errors, at most 5000.",
        ),
        optional(
            "min_keys",
            Shape::Integer(0, COUNT_MAX),
            "The least number of distinct callers of the canary; default where `require` names a rate: 100.",
        ),
        optional("require", Shape::Table(&REQUIRE), "Evidence that is needed before the stage is left."),
        optional("gate", Shape::Tables(&GATE), "Questions to other programs."),
        default(
            "approve",
            Shape::OneOrMore(&Shape::Text),
            "[]",
            "Roles of `approvers` that are asked last; one person fills one role.",
        ),
        default(
            "control",
            Shape::Number(0, 50),
            "0",
            "Percentage of callers that stays on stable at a weight of 100, to compare with.",
        ),
    ],
    later: &[],
};

/// `require` of a stage.
const REQUIRE: TableSpec = TableSpec {
    title: "[rollout.NAME.stage.require]",
    doc: "Evidence that is needed before a stage is left.",
    keys: &[
        optional(
            "non_inferior",
            Shape::Number(0, 30),
            "Evidence that the rate of errors is less than this many times that of stable; above 0.5 and below 30.",
        ),
        optional(
            "or_rate_below",
            Shape::Number(0, 1),
            "Or evidence that the rate of errors is below this; either suffices.",
        ),
        optional(
            "shadow_mismatch",
            Shape::Number(0, 1),
            "Share of the compared copies of the shadows that may differ.",
        ),
    ],
    later: &[],
};

/// What stages need to know.
pub(super) struct StageContext<'a, 'd> {
    pub(super) zone: &'a TimeZone,
    pub(super) approvers: &'a Approvers,
    pub(super) gates: GateContext<'a, 'd>,
    /// The webhooks of all stages.
    pub(super) webhooks: Vec<WebhookTarget>,
}

/// A stage, with its places.
pub(super) struct ReadStage<'d> {
    pub(super) stage: Stage,
    pub(super) reader: Reader<'d>,
    /// The place of its name.
    pub(super) name_at: Span,
}

/// Compiles one stage, which has this index.
pub(super) fn stage<'d>(
    context: &mut Context<'_>,
    reader: Reader<'d>,
    at: usize,
    of: &mut StageContext<'_, 'd>,
) -> Option<ReadStage<'d>> {
    let name = reader.require(context, "name").and_then(|item| item.text(context));
    let name = name.filter(|name| value::name(context, name, name.span));
    let weight = reader.require(context, "weight").and_then(|item| value::weight(context, &item));
    let ramp = reader.get("ramp").and_then(|item| value::duration(context, &item)).unwrap_or_default();
    let not_before_ms = rollout_dates::not_before(context, &reader, of.zone);
    let min_duration = reader.get("min_duration").and_then(|item| value::duration(context, &item)).unwrap_or_default();
    let count = |number: i64| u64::try_from(number).ok();
    let min_requests = reader.integer(context, "min_requests").and_then(count);
    let min_keys = reader.integer(context, "min_keys").and_then(count);
    let require = reader.get("require").map(|item| require(context, &item, reader.name())).unwrap_or_default();
    let gates = gates(context, &reader, at, of);
    let approve = of.approvers.asked(context, &reader);
    let control = reader.get("control").and_then(|item| control(context, &item)).unwrap_or_default();
    reader.finish(context);
    let (name, weight) = (name?, weight?);
    context.variables.record_name(&name, name.shown());
    if &*name == "complete" {
        let finding = Finding::error("reserved-name", name.span, "`complete` is the end of a rollout, and no stage");
        context.report(finding.help("write another name: `rollout wait --until complete` waits for the end"));
    }
    if control > Weight::ZERO && weight.millionths() + control.millionths() <= Weight::FULL.millionths() {
        let message =
            format!("at a weight of {weight} stable keeps more callers than this, so `control` has no effect");
        context.report(Finding::error("useless-key", reader.place("control"), message).help("remove it"));
    }
    let stage = Stage {
        name: name.shown().to_owned(),
        weight: weight.millionths(),
        ramp_ms: millis(ramp),
        not_before_ms,
        min_duration_ms: millis(min_duration),
        min_requests,
        min_keys,
        require,
        gates,
        approve,
        control: control.millionths(),
    };
    Some(ReadStage { stage, reader, name_at: name.span })
}

fn control(context: &mut Context<'_>, item: &Item<'_>) -> Option<Weight> {
    let control = value::weight(context, item)?;
    if control.millionths() > 500_000 {
        item.refuse(context, "out-of-range", "`control` must be 0 to 50");
        return None;
    }
    Some(control)
}

fn require<'d>(context: &mut Context<'_>, item: &Item<'d>, rollout: &'d str) -> Require {
    let Some(reader) = item.table(context, &REQUIRE) else { return Require::default() };
    let reader = reader.with_name(rollout);
    let between = |context: &mut Context<'_>, key: &'static str, least: f64, most: f64| {
        let number = stage_gate::number(context, &reader, key)?;
        if number > least && number < most {
            return Some(number);
        }
        let finding = Finding::error("out-of-range", reader.place(key), "");
        let message = format!("`{key}` must be above {least} and below {most}");
        let percent = (least == 0.0 && (1.0..100.0).contains(&number))
            .then(|| format!("write `{}` for {number} %", number / 100.0));
        context.report(Finding { message, ..finding }.maybe_help(percent));
        None
    };
    let non_inferior = between(context, "non_inferior", 0.5, 30.0);
    let or_rate_below = between(context, "or_rate_below", 0.0, 1.0);
    let shadow_mismatch = value::share(context, &reader, "shadow_mismatch");
    reader.finish(context);
    Require { non_inferior, or_rate_below, shadow_mismatch }
}

fn gates(context: &mut Context<'_>, reader: &Reader<'_>, stage: usize, of: &mut StageContext<'_, '_>) -> Vec<Gate> {
    let tables = reader.tables(context, "gate", &GATE);
    if let Some(table) = tables.get(GATES_MAX) {
        let message = format!("a stage has at most {GATES_MAX} gates");
        context.report(Finding::error("too-many", table.span(), message));
        return Vec::new();
    }
    let mut gates = Vec::with_capacity(tables.len());
    for table in tables {
        let table = table.with_name(of.gates.rollout);
        let Some(ReadGate { gate, target }) = stage_gate::gate(context, &table, &mut of.gates) else { continue };
        of.webhooks.extend(target.map(|target| WebhookTarget { stage, gate: gates.len(), target }));
        gates.push(gate);
    }
    gates
}
