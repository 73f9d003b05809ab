//! Cells and small parts of the tables: names, errors with their counts, moments before and after now, empty states.

use jiff::{SignedDuration, Timestamp};
use maud::{Markup, html};
use serde_json::{Value, json};

use super::figures::{NONE, count, grouped, millis, ratio, text};
use super::parts::{Tone, code_spans, moment, verdict};

/// The most characters of a name in a table.
pub const NAME_MAX: usize = 120;
/// The most characters of a word of the API, such as a state.
pub const WORD_MAX: usize = 32;
/// The most characters of a sentence of the API.
pub const SENTENCE_MAX: usize = 600;

/// At most so many characters of a text.
pub fn clipped(text: &str, chars_max: usize) -> String {
    match text.char_indices().nth(chars_max) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// A name: its direction of writing does not reach what is beside it.
pub fn name(name: &str) -> Markup {
    html! { bdi { @if name.is_empty() { (NONE) } @else { (clipped(name, NAME_MAX)) } } }
}

/// One of few words, such as the name of a state.
pub fn word(word: &str) -> Markup {
    html! { bdi { @if word.is_empty() { (NONE) } @else { (clipped(word, WORD_MAX)) } } }
}

/// A state of which these pages know no meaning.
pub fn other_verdict(word: &str) -> Markup {
    let shown = if word.is_empty() { "unknown".to_owned() } else { clipped(word, WORD_MAX) };
    verdict(Tone::Unknown, "◌", &shown)
}

/// A sentence of the API: what stands between backticks is code.
pub fn sentence(sentence: &str) -> Markup {
    html! { bdi { (code_spans(&clipped(sentence, SENTENCE_MAX))) } }
}

/// Errors with their ratio: `7 (0.23 %)`. Without requests there is no ratio, and nothing is known.
pub fn errors(errors: &Value, of: &Value) -> String {
    match (errors.as_u64(), of.as_u64()) {
        (Some(0), Some(1..)) => "0".to_owned(),
        (Some(errors), Some(requests @ 1..)) => {
            format!("{}\u{a0}({})", grouped(errors), ratio(&json!(part(errors, requests))))
        }
        _ => NONE.to_owned(),
    }
}

/// `583 of 1 750 (33.3 %)`.
pub fn part_of(value: &Value, of: &Value) -> String {
    match (value.as_u64(), of.as_u64()) {
        (Some(value), Some(of @ 1..)) => {
            format!("{} of {} ({})", grouped(value), grouped(of), ratio(&json!(part(value, of))))
        }
        (Some(value), Some(of)) => format!("{} of {}", grouped(value), grouped(of)),
        _ => NONE.to_owned(),
    }
}

#[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
fn part(count: u64, of: u64) -> f64 {
    count as f64 / of as f64
}

/// A quantile: nothing without requests.
pub fn quantile(ms: &Value, requests: &Value) -> String {
    if requests.as_u64().is_some_and(|requests| requests > 0) { millis(ms) } else { NONE.to_owned() }
}

/// `1 route`, `2 000 routes`.
pub fn counted(number: u64, noun: &str) -> String {
    format!("{}\u{a0}{noun}{}", grouped(number), if number == 1 { "" } else { "s" })
}

/// `1 route`, `2 000 routes` of a figure of the API; a dash when it is not known.
pub fn counted_value(number: &Value, noun: &str) -> String {
    number.as_u64().map_or_else(|| format!("{NONE}\u{a0}{noun}s"), |number| counted(number, noun))
}

/// The moment so many milliseconds before `now`.
pub fn ago(now: &str, ms: &Value) -> Markup {
    beside(now, ms.as_u64().and_then(|ms| i64::try_from(ms).ok()).map(|ms| -ms))
}

/// The moment so many milliseconds after `now`.
pub fn ahead(now: &str, ms: &Value) -> Markup {
    beside(now, ms.as_u64().and_then(|ms| i64::try_from(ms).ok()))
}

fn beside(now: &str, ms: Option<i64>) -> Markup {
    let at = now.parse::<Timestamp>().ok().zip(ms);
    let at = at.and_then(|(now, ms)| now.checked_add(SignedDuration::from_millis(ms)).ok());
    moment(&at.map_or(Value::Null, |at| json!(format!("{at:.0}"))))
}

/// Who, and how they came in.
pub fn who(who: &Value) -> Markup {
    let via = text(&who["via"]);
    html! {
        (name(text(&who["name"])))
        @if !via.is_empty() { " " span class="soft" { "by " (word(via)) } }
    }
}

/// A term and what is known of it.
pub fn fact(term: &str, known: &Markup) -> Markup {
    html! { div { dt { (term) } dd { (known) } } }
}

/// Counts by name: `timeout 6, in_flight_limit 2`; a word when there is none.
pub fn tally(counts: &Value, none: &str) -> Markup {
    let all: Vec<(&String, &Value)> = counts.as_object().into_iter().flatten().collect();
    html! {
        @if all.is_empty() { span class="soft" { (none) } }
        @for (at, (name, number)) in all.iter().enumerate() {
            @if at > 0 { ", " }
            span class="nowrap" { bdi { (clipped(name, WORD_MAX).replace('_', " ")) } " " (count(number)) }
        }
    }
}

/// A page without content: what is missing, and what to do.
pub fn empty(what: &str, how: &Markup) -> Markup {
    html! {
        div class="empty" {
            p { strong { (what) } }
            p class="help" { (how) }
        }
    }
}

/// A place in a file without its folders, with the whole for a pointer.
pub fn place(place: &str) -> Markup {
    let short = place.rsplit('/').next().unwrap_or(place);
    html! { @if !place.is_empty() { span class="soft" title=(clipped(place, SENTENCE_MAX)) { (name(short)) } } }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::frame::{Frame, PageName};
    use super::super::viewer::Viewer;
    use super::*;

    /// A page as an operator or a reader gets it.
    pub fn shown_by(may_operate: bool, page: impl Fn(&Frame<'_>) -> String) -> String {
        let viewer = Viewer { name: Some("ana".to_owned()), may_operate, may_reload: may_operate, ..Viewer::default() };
        let status = json!({ "phase": "running", "ready": true, "generation": 7 });
        page(&Frame {
            page: PageName::Routes,
            title: "a page",
            viewer: &viewer,
            seq: 7,
            now: "2026-12-01T12:00:00.000Z",
            status: &status,
            grafana: None,
        })
    }

    /// The same answer with a hostile text in the place of each text.
    pub fn hostile_everywhere(value: &Value) -> Value {
        let hostile = "<img src=x onerror=alert(1)>\u{202e}\"'&".repeat(100);
        match value {
            Value::String(_) => json!(hostile),
            Value::Array(all) => all.iter().map(hostile_everywhere).collect(),
            Value::Object(all) => {
                let members = all.iter().map(|(name, value)| (name.clone(), hostile_everywhere(value)));
                Value::Object(members.collect())
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
        }
    }

    #[test]
    fn a_ratio_comes_with_its_counts() {
        assert_eq!(errors(&json!(7), &json!(3_051)), "7\u{a0}(0.229\u{a0}%)");
        assert_eq!((errors(&json!(0), &json!(5)), errors(&json!(0), &json!(0))), ("0".into(), NONE.into()));
        assert_eq!((errors(&json!(null), &json!(5)), errors(&json!("7"), &json!(5))), (NONE.into(), NONE.into()));
        assert_eq!(part_of(&json!(583), &json!(1_750)), "583 of 1\u{a0}750 (33.3\u{a0}%)");
        assert_eq!((part_of(&json!(0), &json!(0)), part_of(&json!(-1), &json!(0))), ("0 of 0".into(), NONE.into()));
        assert_eq!(
            (quantile(&json!(1.5), &json!(0)), quantile(&json!(1.5), &json!(9))),
            (NONE.into(), "1.5\u{a0}ms".into())
        );
        assert_eq!(
            (counted(1, "route"), counted(2_000, "route")),
            ("1\u{a0}route".into(), "2\u{a0}000\u{a0}routes".into())
        );
        assert_eq!(counted_value(&json!(null), "key"), "–\u{a0}keys");
    }

    #[test]
    fn moments_are_absolute() {
        let now = "2026-12-01T00:00:10.400Z";
        assert!(ago(now, &json!(11_000)).into_string().contains("datetime=\"2026-11-30T23:59:59Z\""));
        assert!(ahead(now, &json!(30_000)).into_string().contains("00:00:40"));
        for (now, ms) in
            [(now, json!(null)), (now, json!(u64::MAX)), (now, json!(i64::MAX)), ("x", json!(1)), ("", json!("1"))]
        {
            assert_eq!(ago(now, &ms).into_string(), "–", "{now} {ms}");
        }
    }

    #[test]
    fn hostile_texts_are_short_and_stay_text() {
        let hostile = "<img src=x onerror=alert(1)>\u{202e}".repeat(150);
        for shown in [
            name(&hostile),
            sentence(&hostile),
            place(&hostile),
            who(&json!({ "name": hostile, "via": hostile })),
            tally(&json!({ hostile.clone(): hostile }), "none"),
        ] {
            let shown = shown.into_string();
            assert!(!shown.contains("<img") && shown.contains("&lt;img") && shown.len() < 6_000, "{shown}");
        }
        assert_eq!(clipped("größe", 3), "grö…");
        assert_eq!((clipped("größe", 5), clipped("", 0)), ("größe".into(), String::new()));
        assert_eq!(name("").into_string(), "<bdi>–</bdi>");
    }
}
