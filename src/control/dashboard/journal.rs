//! The journal: who changed what, when and why; search, filter, export as CSV.

use maud::{Markup, html};
use serde_json::Value;

use super::cells::{empty, name, sentence, word};
use super::figures::{NONE, text};
use super::frame::Frame;
use super::journal_line::{JournalFilter, JournalLine, target_link};
use super::parts::{in_path, moment};

/// The kinds of records, for the filter.
const KINDS: [&str; 9] =
    ["kill", "revive", "reload", "release", "rollout", "endpoint", "start", "refused", "checkpoint"];
/// The acts, for the filter.
const ACTS: [&str; 21] = [
    "begin",
    "enter",
    "raise",
    "lower",
    "complete",
    "ask",
    "approve",
    "hold",
    "unhold",
    "resume",
    "rollback",
    "goto",
    "restart",
    "rehearsed",
    "warn",
    "killed",
    "revived",
    "drain",
    "undrain",
    "eject",
    "admit",
];

/// The page: records, newest first. `older`: the number before which there are more.
pub fn journal_page(frame: &Frame<'_>, records: &[Value], filter: &JournalFilter, older: Option<u64>) -> String {
    let is_filtered = !filter.text.is_empty() || !filter.act.is_empty();
    let main = html! {
        div class="head" {
            h1 { "Journal" }
            p class="sums" { a href=(address("/journal.csv", filter, filter.before)) { "As CSV" } }
        }
        (form(filter))
        @if records.is_empty() {
            @let what = if is_filtered || filter.before.is_some() { "No record fits." } else { "The journal has no record yet." };
            (empty(what, &html! {
                @if older.is_some() { "Older records may: look further back. " }
                @if is_filtered || filter.before.is_some() { a href="/journal" { "All records" } }
                @else { "Each kill, revive, reload and decision of a guard or a rollout is recorded here." }
            }))
        } @else {
            (table(records))
        }
        (pages(filter, older))
        p class="soft" { code { "pointsman journal --verify" } " checks the chain of hashes over all records." }
    };
    frame.around(&main)
}

fn form(filter: &JournalFilter) -> Markup {
    let is_known = KINDS.contains(&filter.act.as_str()) || ACTS.contains(&filter.act.as_str());
    let option = |value: &str| {
        html! { option value=(value) selected[value == filter.act] { (value.replace('_', " ")) } }
    };
    html! {
        form class="filter" method="get" action="/journal" role="search" {
            label for="filter" { "Text" }
            input type="search" id="filter" name="text" value=(filter.text) maxlength="256" autocomplete="off" spellcheck="false"
                aria-keyshortcuts="/";
            label for="act" { "What" }
            select id="act" name="act" {
                option value="" selected[filter.act.is_empty()] { "everything" }
                @if !filter.act.is_empty() && !is_known { (option(&filter.act)) }
                optgroup label="Records" { @for kind in KINDS { (option(kind)) } }
                optgroup label="Acts" { @for act in ACTS { (option(act)) } }
            }
            button type="submit" { "Filter" }
            @if !filter.text.is_empty() || !filter.act.is_empty() { a href="/journal" { "All records" } }
        }
    }
}

fn table(records: &[Value]) -> Markup {
    html! {
        table class="stack journal" role="table" {
            caption class="sr-only" { "Records, the newest first" }
            thead role="rowgroup" { tr role="row" {
                th role="columnheader" scope="col" class="num" { "#" }
                @for head in ["When", "Who", "What", "About", "What changed", "Reason"] { th role="columnheader" scope="col" { (head) } }
            } }
            tbody role="rowgroup" { @for record in records { (row(record)) } }
        }
    }
}

fn row(record: &Value) -> Markup {
    let line = JournalLine::of(record);
    let seq = record["seq"].as_u64().map_or_else(|| NONE.to_owned(), |seq| seq.to_string());
    html! {
        tr role="row" data-row={ "record:" (seq) } tabindex="-1" {
            th role="rowheader" scope="row" class="num" { (seq) }
            td role="cell" data-label="When" { (moment(&record["at"])) }
            td role="cell" data-label="Who" { (name(&line.who)) @if !line.via.is_empty() && line.via != "process" { " " span class="soft" { "by " (word(&line.via)) } } }
            td role="cell" data-label="What" { strong { (word(&line.act.replace('_', " "))) } }
            td role="cell" data-label="About" { (target_link(record, &line.target)) }
            td role="cell" data-label="Changed" {
                @if !line.change.is_empty() { (sentence(&line.change)) }
                @if record["role"].is_string() { " " span class="soft" { "as " (name(text(&record["role"]))) } }
            }
            td role="cell" data-label="Reason" { @if !line.reason.is_empty() { (sentence(&line.reason)) } }
        }
    }
}

fn pages(filter: &JournalFilter, older: Option<u64>) -> Markup {
    html! {
        @if filter.before.is_some() || older.is_some() {
            p class="pages" {
                @if filter.before.is_some() { a href=(address("/journal", filter, None)) rel="prev" { "Newest" } }
                @if let Some(older) = older { a href=(address("/journal", filter, Some(older))) rel="next" { "Older than #" (older) } }
            }
        }
    }
}

/// An address with the filter.
fn address(path: &str, filter: &JournalFilter, before: Option<u64>) -> String {
    let mut query = Vec::new();
    for (field, value) in [("text", &filter.text), ("act", &filter.act)] {
        if !value.is_empty() {
            query.push(format!("{field}={}", in_path(value)));
        }
    }
    query.extend(before.map(|before| format!("before={before}")));
    if query.is_empty() { path.to_owned() } else { format!("{path}?{}", query.join("&")) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::cells::tests::{hostile_everywhere, shown_by};
    use super::super::journal_line::tests::records;
    use super::*;

    fn filter(text: &str, act: &str, before: Option<u64>) -> JournalFilter {
        JournalFilter { text: text.to_owned(), act: act.to_owned(), before }
    }

    #[test]
    fn records_have_who_when_what_and_why() {
        let page = shown_by(true, |frame| journal_page(frame, &records(), &filter("a b", "kill", Some(12)), Some(1)));
        for part in [
            "data-row=\"record:4\"",
            "INC-4711",
            "href=\"/rollouts/shop-v2\"",
            "5\u{a0}% → 25\u{a0}%",
            "by <bdi>socket</bdi>",
            "value=\"a b\"",
            "<option value=\"kill\" selected>",
            "href=\"/journal.csv?text=a%20b&amp;act=kill&amp;before=12\"",
            "href=\"/journal?text=a%20b&amp;act=kill&amp;before=1\"",
            "href=\"/journal?text=a%20b&amp;act=kill\" rel=\"prev\"",
        ] {
            assert!(page.contains(part), "{part}: {page}");
        }
        assert_eq!(page.matches("<tr").count(), 12);
    }

    #[test]
    fn an_empty_page_says_what_to_do() {
        let page = |filter: JournalFilter, older: Option<u64>| {
            shown_by(true, |frame| journal_page(frame, &[], &filter, older))
        };
        assert!(page(JournalFilter::default(), None).contains("no record yet"));
        let found = page(filter("x", "", None), Some(7));
        assert!(
            found.contains("No record fits.") && found.contains("look further back") && found.contains("Older than #7"),
            "{found}"
        );
        assert!(page(filter("", "", Some(3)), None).contains("Newest"));
    }

    #[test]
    fn bad_and_hostile_records_are_shown() {
        let page = shown_by(true, |frame| {
            journal_page(frame, &[json!(null), json!(7), json!({ "who": 7 })], &JournalFilter::default(), None)
        });
        assert_eq!(page.matches("data-row=\"record:–\"").count(), 3, "{page}");
        for what in ["kill", "rollout", "release", "endpoint", "reload", "x"] {
            let hostile: Vec<Value> = records()
                .iter()
                .map(hostile_everywhere)
                .map(|mut record| {
                    record["what"] = json!(what);
                    record["role"] = json!("<img src=x>");
                    record
                })
                .collect();
            let page = shown_by(true, |frame| {
                journal_page(frame, &hostile, &filter("<img src=x>\"", "<img src=x>", None), None)
            });
            assert!(!page.contains("<img"), "{page}");
        }
    }
}
