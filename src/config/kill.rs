//! `[kill]`: the veto. What it names is marked in the routes and variants.

use super::context::Context;
use super::diagnostic::Finding;
use super::identity;
use super::reader::{Item, Reader, Text};
use super::registry::Registry;
use super::spec::{DURATION, Form, Spec, default};
use super::suggest::did_you_mean;
use super::{tenants, value};
use crate::route::{Action, Kill, Route, TenantList, Variant, Weight};

const NAMES: Form = Form::OneOrMore(&Form::Text);

/// `[kill]`.
pub(super) const KILL: Spec = Spec {
    title: "[kill]",
    doc: "The veto, checked first on every request: the only table to touch in an incident.",
    keys: &[
        default("all", Form::Boolean, "false", "Every split serves stable."),
        default("routes", NAMES, "[]", "These routes serve stable only."),
        default("variants", NAMES, "[]", "One arm, as `route:variant`; its callers go to stable."),
        default("tenants", super::predicate::LISTED, "[]", "These tenants always get stable."),
        default(
            "close_streams",
            Form::Pattern(DURATION),
            "\"0s\"",
            "Close streaming connections of killed variants after this; `0s` leaves them.",
        ),
    ],
    later: &["rollouts"],
};

/// Compiles `[kill]` into the routes that it names. A route is `None` when it has errors of its own.
pub(super) fn kill(
    context: &mut Context<'_>,
    reader: Option<&Reader<'_>>,
    names: &mut Registry<'_>,
    routes: &mut [Option<Route>],
) -> Kill {
    let Some(reader) = reader else { return Kill::default() };
    let all_item = reader.get("all");
    let all = all_item.and_then(|item| item.boolean(context)).unwrap_or(false);
    if let (true, Some(item)) = (all, all_item) {
        let finding = Finding::warning("kill-active", item.span(), "everything is killed: every route serves stable");
        context.report(finding);
    }
    for text in texts(context, reader.get("routes")) {
        kill_route(context, &text, names, routes);
    }
    for text in texts(context, reader.get("variants")) {
        kill_variant(context, &text, names, routes);
    }
    warn_of_idle_weights(context, reader, routes);
    let listed = reader.get("tenants").filter(|item| item.is_table() || !item.one_or_more().is_empty());
    if let Some(item) = &listed {
        identity::warn_unread(context, "tenant", (item.span(), "this kills nothing"));
    }
    let tenants = listed.and_then(|item| tenants::list(context, &item));
    let close_streams = value::timeout(context, reader, "close_streams", None);
    reader.finish(context);
    Kill { all, tenants: tenants.unwrap_or_else(|| TenantList::new([])), close_streams }
}

/// Warns of routes whose weights move nobody, since every variant that has one is killed.
fn warn_of_idle_weights(context: &mut Context<'_>, reader: &Reader<'_>, routes: &[Option<Route>]) {
    for route in routes.iter().flatten() {
        let variants = route.split().map(|split| &split.variants[1..]).unwrap_or_default();
        let mut weighted = variants.iter().filter(|variant| variant.weight > Weight::ZERO).peekable();
        if weighted.peek().is_some() && weighted.all(|variant| variant.killed) {
            let message = format!("every variant of route `{}` that has a weight is killed", route.name);
            context.report(Finding::warning("kill-active", reader.place("variants"), message));
        }
    }
}

fn texts<'d>(context: &mut Context<'_>, item: Option<Item<'d>>) -> Vec<Text<'d>> {
    let items = item.map(|item| item.one_or_more()).unwrap_or_default();
    items.iter().filter_map(|item| item.text(context)).collect()
}

fn kill_route(context: &mut Context<'_>, text: &Text<'_>, names: &mut Registry<'_>, routes: &mut [Option<Route>]) {
    let found = names.find(context, text).and_then(|number| routes.get_mut(number as usize)?.as_mut());
    match found.map(|route| &mut route.action) {
        Some(Action::Split(split)) => split.killed = true,
        Some(Action::Redirect(_) | Action::Respond(_)) => {
            let message = format!("route `{}` forwards to nobody: there is nothing to kill", &**text);
            context.report(Finding::error("useless-kill", text.span, message));
        }
        None => {}
    }
}

fn kill_variant(context: &mut Context<'_>, text: &Text<'_>, names: &mut Registry<'_>, routes: &mut [Option<Route>]) {
    let Some((route, variant)) = text.split_once(':') else {
        let finding = Finding::error("bad-kill", text.span, format!("`{}` does not name a route's variant", &**text));
        context.report(finding.help("write `route:variant`, such as `checkout:canary`"));
        return;
    };
    let name = Text::plain(route.into(), text.span);
    let Some(number) = names.find(context, &name) else { return };
    let Some(found) = routes.get_mut(number as usize).and_then(Option::as_mut) else { return };
    let variants: &mut [Variant] = match &mut found.action {
        Action::Split(split) => &mut split.variants,
        Action::Redirect(_) | Action::Respond(_) => &mut [],
    };
    if variant == "stable" {
        let message = "stable cannot be killed: it is where everybody goes";
        context.report(Finding::error("bad-kill", text.span, message));
        return;
    }
    if let Some(found) = variants.iter_mut().find(|known| context.veil.is_name(variant, &known.name)) {
        found.killed = true;
        return;
    }
    let message = format!("route `{route}` has no variant `{variant}`");
    let known: Vec<_> = variants.iter().skip(1).map(|variant| &*variant.name).collect();
    let help = did_you_mean(variant, known.iter().copied());
    context.report(Finding::error("unknown-variant", text.span, message).maybe_help(help));
}
