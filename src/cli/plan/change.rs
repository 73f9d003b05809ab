//! The change: whose it is, what kind it is, what moves, who approves it and who hears of it.

use super::markup::{PaddedTable, any_of, text};
use super::sheet::PlanSheet;
use crate::release::span;

/// The head of the document.
pub(super) fn change(sheet: &PlanSheet<'_>) -> String {
    let about = &sheet.rollout.about;
    let or_missing = |value: Option<&String>| value.map_or_else(|| "**not stated**".to_owned(), |value| text(value));
    let mut table = PaddedTable::new(&["what", ""]);
    let mut row = |what: &str, value: String| table.row([what.to_owned(), value]);
    row("owner", or_missing(about.owner.as_ref()));
    row("ticket", or_missing(about.ticket.as_ref()));
    row("change", classification(sheet));
    row("revision", text(&sheet.rules.revision_of_rollout(sheet.rollout)));
    row("replaces", text(&sheet.rules.stable_revision_of_rollout(sheet.rollout)));
    if let Some(stands) = sheet.proxy.as_ref().ok().and_then(|proxy| proxy.stands.as_ref()) {
        row("stands now", format!("{}; the dates are those of a release that begins anew", text(stands)));
    }
    row("begins", sheet.date(sheet.timeline.begins_ms));
    row(
        "complete",
        match sheet.timeline.complete_ms {
            Some(ms) => format!("{}, after {}", sheet.date(ms), span(ms.saturating_sub(sheet.timeline.begins_ms))),
            None => "**not known**, see [Stages](#stages)".to_owned(),
        },
    );
    let expires = about.expires.as_ref();
    row("expires", expires.map_or_else(|| "never".to_owned(), |day| format!("at the end of {}", text(day))));
    row("approved by", approvers(sheet));
    row("notified", notified(sheet));
    row("times are in", text(&about.zone));
    format!("{}{}", table.markdown(), moves(sheet))
}

/// The kind of the change, as the file states it.
fn classification(sheet: &PlanSheet<'_>) -> String {
    let about = &sheet.rollout.about;
    let of = |value: Option<bool>, [yes, no]: [&'static str; 2]| value.map(|value| if value { yes } else { no });
    let words = [
        of(about.visible, ["visible to users", "not visible to users"]),
        of(about.breaking, ["**breaking**", "not breaking"]),
        of(about.reversible, ["reversible", "**not reversible**"]),
    ];
    let mut words: Vec<String> = words.into_iter().flatten().map(str::to_owned).collect();
    words.extend(about.data.as_ref().map(|data| format!("data: {}", text(data))));
    if words.is_empty() { "**not stated**".to_owned() } else { words.join(", ") }
}

/// Who approves at all.
fn approvers(sheet: &PlanSheet<'_>) -> String {
    let roles: Vec<String> =
        (sheet.rollout.approvers.iter()).map(|one| format!("{}: {}", text(&one.role), any_of(&one.people))).collect();
    if roles.is_empty() { "**no person**: `approvers` is empty".to_owned() } else { roles.join("; ") }
}

/// The receivers of notifications, by name.
fn notified(sheet: &PlanSheet<'_>) -> String {
    let notify = &sheet.rules.notify;
    let hears = |id: &String| notify.to.contains(id) || sheet.rollout.notify.contains(id);
    let names: Vec<String> = notify.receivers.iter().filter(|one| hears(&one.id)).map(|one| text(&one.name)).collect();
    if names.is_empty() {
        "**no receiver**: neither `[notify]` nor the rollout names one".to_owned()
    } else {
        names.join(", ")
    }
}

/// Routes and upstreams.
fn moves(sheet: &PlanSheet<'_>) -> String {
    let mut table = PaddedTable::new(&["route", "variant", "from upstream", "to upstream", "callers are known by"]);
    for moved in sheet.routes() {
        let sticky: Vec<String> =
            (moved.route.split().into_iter().flat_map(|split| &split.sticky)).map(|key| text(key.name())).collect();
        let sticky =
            if sticky.is_empty() { "nothing: each request is dealt anew".to_owned() } else { sticky.join(", ") };
        let upstream = |variant| text(sheet.upstream(variant));
        table.row([
            text(&moved.route.name),
            text(&moved.canary.name),
            upstream(moved.stable),
            upstream(moved.canary),
            sticky,
        ]);
    }
    let together = if sheet.rollout.members.len() > 1 {
        "The routes share one weight: a caller gets the new version on all of them, or on none.\n\n"
    } else {
        ""
    };
    format!("## What moves\n\n{}{together}", table.markdown())
}
