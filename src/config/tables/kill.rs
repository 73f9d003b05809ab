//! `[kill]`: marks the killed routes, variants and shadows in the state of their splits, and notes where the files kill
//! what.

use super::known_rollouts::KnownRollouts;
use super::{identity_warnings, tenants};
use crate::config::toml::context::Context;
use crate::config::toml::diagnostic::Finding;
use crate::config::toml::item::Item;
use crate::config::toml::reader::Reader;
use crate::config::toml::registry::Registry;
use crate::config::toml::spanned_string::SpannedString;
use crate::config::toml::spec::{DURATION, Shape, TableSpec, default};
use crate::config::toml::suggest::did_you_mean;
use crate::config::toml::value;
use crate::route::{Action, FileKills, Kill, KillScope, Route, SplitState, Stop, Variant, VariantId, Weight};

const NAMES: Shape = Shape::OneOrMore(&Shape::Text);

/// `[kill]`.
pub(in crate::config) const KILL: TableSpec = TableSpec {
    title: "[kill]",
    doc: "Kills, checked first on every request: the only table to change during an incident.",
    keys: &[
        default("all", Shape::Boolean, "false", "Every route serves stable only."),
        default("routes", NAMES, "[]", "Names of routes that serve stable only."),
        default("variants", NAMES, "[]", "Killed variants, as `route:variant`; their callers get stable."),
        default("rollouts", NAMES, "[]", "Names of rollouts whose variants are killed, on all of their routes."),
        default("shadows", NAMES, "[]", "Names of routes whose shadow gets no copies."),
        default("tenants", super::predicate::LISTED, "[]", "Tenants that always get stable."),
        default(
            "close_streams",
            Shape::Pattern(DURATION),
            "\"0s\"",
            "Time after which streaming connections of killed variants are closed; `0s` leaves them open.",
        ),
    ],
    later: &["flags"],
};

/// The routes of all files, and the states of their splits.
pub(in crate::config) struct Splits<'a, 'd> {
    /// `None` for a route with errors.
    pub(in crate::config) routes: &'a [Option<Route>],
    /// By the indexes of `routes`.
    pub(in crate::config) states: &'a mut [SplitState],
    pub(in crate::config) rollouts: &'a mut KnownRollouts<'d>,
}

/// `[kill]`, compiled.
#[derive(Default)]
pub(in crate::config) struct CompiledKill {
    pub(in crate::config) kill: Kill,
    /// Everything that the files kill, with its place.
    pub(in crate::config) places: FileKills,
}

/// Compiles `[kill]`; marks the splits that it names.
pub(in crate::config) fn kill(
    context: &mut Context<'_>,
    reader: Option<&Reader<'_>>,
    names: &mut Registry<'_>,
    mut splits: Splits<'_, '_>,
) -> CompiledKill {
    let Some(reader) = reader else { return CompiledKill::default() };
    let mut places = FileKills::default();
    let all_item = reader.get("all");
    let all = all_item.and_then(|item| item.boolean(context)).unwrap_or(false);
    if let (true, Some(item)) = (all, all_item) {
        let finding = Finding::warning("kill-active", item.span(), "everything is killed: every route serves stable");
        context.report(finding);
        places.add(KillScope::All, context.location(item.span()));
    }
    for (key, kill) in [("routes", kill_route as KillNamed), ("variants", kill_variant), ("shadows", kill_shadow)] {
        for text in texts(context, reader.get(key)) {
            if let Some(scope) = kill(context, &text, names, &mut splits) {
                places.add(scope, context.location(text.span));
            }
        }
    }
    for text in texts(context, reader.get("rollouts")) {
        if let Some(scope) = kill_rollout(context, &text, &mut splits) {
            places.add(scope, context.location(text.span));
        }
    }
    warn_of_idle_weights(context, reader, &splits);
    let listed = reader.get("tenants").filter(|item| item.is_table() || !item.one_or_more().is_empty());
    if let Some(item) = &listed {
        identity_warnings::warn_unread(context, "tenant", item.span(), "this has no effect");
    }
    let tenants = listed.and_then(|item| Some((tenants::list(context, &item)?, item.span())));
    let close_streams = value::timeout(context, reader, "close_streams", None);
    reader.finish(context);
    let tenants = tenants.map(|(names, at)| {
        places.set_tenants(names.clone(), context.location(at));
        names
    });
    CompiledKill { kill: Kill { all, tenants: tenants.unwrap_or_default(), close_streams }, places }
}

impl<'a> Splits<'a, '_> {
    fn get(&mut self, number: u32) -> Option<(&'a Route, &mut SplitState)> {
        debug_assert_eq!(self.routes.len(), self.states.len(), "every route has a state");
        Some((self.routes.get(number as usize)?.as_ref()?, self.states.get_mut(number as usize)?))
    }
}

/// Kills what a text names; returns its scope, or reports an error.
type KillNamed = fn(&mut Context<'_>, &SpannedString<'_>, &mut Registry<'_>, &mut Splits<'_, '_>) -> Option<KillScope>;

/// Warns of routes whose weights have no effect, since every variant with a weight is killed.
fn warn_of_idle_weights(context: &mut Context<'_>, reader: &Reader<'_>, splits: &Splits<'_, '_>) {
    let all = splits.routes.iter().zip(&*splits.states);
    for (route, state) in all.filter_map(|(route, state)| Some((route.as_ref()?, state))) {
        let mut weighted = state.arms().iter().skip(1).filter(|arm| arm.weight > Weight::ZERO).peekable();
        if weighted.peek().is_some() && weighted.all(|arm| arm.killed) {
            let message = format!("every variant of route `{}` that has a weight is killed", route.name);
            let key = if reader.get("variants").is_some() { "variants" } else { "rollouts" };
            context.report(Finding::warning("kill-active", reader.place(key), message));
        }
    }
}

fn texts<'d>(context: &mut Context<'_>, item: Option<Item<'d>>) -> Vec<SpannedString<'d>> {
    let items = item.map(|item| item.one_or_more()).unwrap_or_default();
    items.iter().filter_map(|item| item.text(context)).collect()
}

fn kill_route(
    context: &mut Context<'_>,
    text: &SpannedString<'_>,
    names: &mut Registry<'_>,
    splits: &mut Splits<'_, '_>,
) -> Option<KillScope> {
    let (route, state) = names.find(context, text).and_then(|number| splits.get(number))?;
    match &route.action {
        Action::Split(_) => state.kill(),
        Action::Redirect(_) | Action::Respond(_) => {
            let message = format!("route `{}` has no upstream: there is nothing to kill", &**text);
            context.report(Finding::error("useless-kill", text.span, message));
        }
    }
    Some(KillScope::Route(route.name.clone()))
}

fn kill_rollout(context: &mut Context<'_>, text: &SpannedString<'_>, splits: &mut Splits<'_, '_>) -> Option<KillScope> {
    let id = splits.rollouts.find(context, text)?;
    let rollout = &splits.rollouts.get(id)?.rollout;
    for member in &rollout.members {
        if let Some(state) = splits.states.get_mut(member.route.0 as usize) {
            state.stop(member.variant, Stop::Kill);
        }
    }
    Some(KillScope::Rollout(rollout.name.clone()))
}

fn kill_shadow(
    context: &mut Context<'_>,
    text: &SpannedString<'_>,
    names: &mut Registry<'_>,
    splits: &mut Splits<'_, '_>,
) -> Option<KillScope> {
    let (route, state) = names.find(context, text).and_then(|number| splits.get(number))?;
    if route.split().is_some_and(|split| split.shadow.is_some()) {
        state.kill_shadow();
    } else {
        let message = format!("route `{}` has no shadow: there is nothing to kill", &**text);
        let finding = Finding::error("useless-kill", text.span, message);
        context.report(finding.help("`shadows` lists routes with `[route.shadow]`"));
    }
    Some(KillScope::Shadow(route.name.clone()))
}

fn kill_variant(
    context: &mut Context<'_>,
    text: &SpannedString<'_>,
    names: &mut Registry<'_>,
    splits: &mut Splits<'_, '_>,
) -> Option<KillScope> {
    let Some((route, variant)) = text.split_once(':') else {
        let finding =
            Finding::error("bad-kill", text.span, format!("`{}` does not name a variant of a route", &**text));
        context.report(finding.help("write `route:variant`, such as `checkout:canary`"));
        return None;
    };
    let name = SpannedString::plain(route.into(), text.span);
    let (found, state) = names.find(context, &name).and_then(|number| splits.get(number))?;
    let variants: &[Variant] = match &found.action {
        Action::Split(split) => &split.variants,
        Action::Redirect(_) | Action::Respond(_) => &[],
    };
    if variant == "stable" {
        let message = "stable cannot be killed: the callers of killed variants get it";
        context.report(Finding::error("bad-kill", text.span, message));
        return None;
    }
    let is_named = |known: &Variant| context.variables.is_name(variant, &known.name);
    if let Some((known, id)) = variants.iter().zip(0..).find(|(known, _)| is_named(known)) {
        state.stop(VariantId(id), Stop::Kill);
        return Some(KillScope::Variant { route: found.name.clone(), variant: known.name.clone() });
    }
    let message = format!("route `{route}` has no variant `{variant}`");
    let known: Vec<_> = variants.iter().skip(1).map(|variant| &*variant.name).collect();
    let help = did_you_mean(variant, known.iter().copied());
    context.report(Finding::error("unknown-variant", text.span, message).maybe_help(help));
    None
}
