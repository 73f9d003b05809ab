//! Rendering of a comparison and a replay, as text and as JSON.

use std::fmt::Write;

use serde_json::{Value, json};

use super::log::LogReplayed;
use crate::cli::out::count;
use crate::cli::paint::Paint;
use crate::route::{BUCKETS, ConfigDiff, CopyCounts, Flow, Moved, MovedUpstream, RouteChange};

/// As text.
pub(super) fn text(comparison: &ConfigDiff, replay: Option<&LogReplayed>, paint: Paint) -> String {
    let mut text = String::new();
    for name in &comparison.added {
        let _ = writeln!(text, "{} route {name}", paint.green("added  "));
    }
    for name in &comparison.removed {
        let _ = writeln!(text, "{} route {name}", paint.red("removed"));
    }
    for change in &comparison.changed {
        changed(&mut text, change, paint);
    }
    if text.is_empty() {
        let what = if comparison.others.is_empty() { "" } else { "routes: " };
        let _ = writeln!(text, "{what}nothing changes");
    }
    for words in &comparison.others {
        let _ = writeln!(text, "{} {words}", paint.yellow("also   "));
    }
    for moved in &comparison.moved_upstreams {
        let of = |(route, variant, share): &(String, String, u32)| {
            format!("{} of {route} ({variant})", percent(u64::from(*share)))
        };
        let answers: Vec<String> = moved.answers.iter().map(of).collect();
        let answers = if answers.is_empty() { "no callers by weight".to_owned() } else { answers.join(", ") };
        let _ = writeln!(text, "          the endpoints of {} answer {answers}", moved.upstream);
    }
    if let Some(replay) = replay {
        replayed(&mut text, replay, paint);
    }
    text
}

fn changed(text: &mut String, change: &RouteChange, paint: Paint) {
    let _ = writeln!(text, "{} route {}", paint.yellow("changed"), paint.bold(&change.route));
    for words in &change.words {
        let _ = writeln!(text, "          {words}");
    }
    let moved = match &change.moved {
        Moved::Exactly(flows) => moves(flows, paint),
        Moved::ByWeight(flows, note) => format!("{}; {note}", moves(flows, paint)),
        Moved::Unknown(why) => format!("moved callers unknown: {why} (replay a log with --requests)"),
    };
    let _ = writeln!(text, "          {moved}");
}

/// Who moves.
fn moves(flows: &[Flow], paint: Paint) -> String {
    match flows {
        [] => "no caller moves".to_owned(),
        [Flow { from, to, millionths: BUCKETS }] => {
            format!("{} move from {from} to {to}", paint.bold("all its callers"))
        }
        flows => {
            let all = percent(flows.iter().map(|flow| u64::from(flow.millionths)).sum());
            let flows: Vec<String> = flows.iter().map(flow).collect();
            format!("{} of its callers move: {}", paint.bold(&all), flows.join(", "))
        }
    }
}

fn flow(flow: &Flow) -> String {
    format!("{} from {} to {}", percent(u64::from(flow.millionths)), flow.from, flow.to)
}

fn replayed(text: &mut String, replay: &LogReplayed, paint: Paint) {
    let replayed = &replay.replayed;
    let requests = usize::try_from(replayed.requests).unwrap_or(usize::MAX);
    let moved = paint.bold(&share(replayed.moved, replayed.requests));
    let _ = writeln!(text, "replayed  {}: {moved} get another answer", count(requests, "request"));
    for ((from, to), requests) in &replayed.moves {
        let _ = writeln!(text, "          {} from {from} to {to}", share(*requests, replayed.requests));
    }
    let [before, after] = replayed.copied;
    if before.any || after.any {
        let share = |copies: CopyCounts| tenths(copies.millionths, replayed.requests);
        let _ = writeln!(text, "          shadows copy {} before, {} after", share(before), share(after));
        let unknown = before.unknown.max(after.unknown);
        if unknown > 0 {
            let unknown = self::share(unknown, replayed.requests);
            let _ =
                writeln!(text, "          {unknown} may or may not be copied: the log does not have their sticky keys");
        }
    }
    if replayed.rerouted > 0 {
        let rerouted = share(replayed.rerouted, replayed.requests);
        let _ = writeln!(
            text,
            "          {rerouted} cannot be decided: with the old file they match another route than the logged one (the file has changed, or headers decide)"
        );
    }
    let unknown = replayed.unknown - replayed.rerouted;
    if unknown > 0 {
        let unknown = share(unknown, replayed.requests);
        let _ = writeln!(
            text,
            "          {unknown} cannot be decided: the log does not have their users, headers, cookies and queries"
        );
    }
    if replay.leaves_out_limits {
        let _ = writeln!(text, "          rate limits are not replayed");
    }
    if replay.foreign > 0 {
        let foreign = usize::try_from(replay.foreign).unwrap_or(usize::MAX);
        let _ = writeln!(text, "          {} ignored: not from a JSON access log", count(foreign, "line"));
    }
}

/// `25 %` of millionths, with as many decimals as are needed.
fn percent(millionths: u64) -> String {
    let (whole, rest) = (millionths / 10_000, millionths % 10_000);
    let decimals = format!("{rest:04}");
    let decimals = decimals.trim_end_matches('0');
    if decimals.is_empty() { format!("{whole} %") } else { format!("{whole}.{decimals} %") }
}

/// `12 (0.6 %)`.
#[expect(clippy::cast_precision_loss, reason = "a share is for people")]
fn share(part: u64, all: u64) -> String {
    let percent = if all == 0 { 0.0 } else { part as f64 * 100.0 / all as f64 };
    format!("{part} ({percent:.2} %)")
}

/// How many copies are to be expected, `12.5 (0.62 %)`.
#[expect(clippy::cast_precision_loss, reason = "a share is for people")]
fn tenths(millionths: u64, all: u64) -> String {
    let copies = millionths as f64 / 1e6;
    let percent = if all == 0 { 0.0 } else { copies * 100.0 / all as f64 };
    format!("{copies:.1} ({percent:.2} %)")
}

/// As JSON.
pub(super) fn json(comparison: &ConfigDiff, replay: Option<&LogReplayed>) -> Value {
    json!({
        "added": comparison.added,
        "removed": comparison.removed,
        "changed": comparison.changed.iter().map(change_json).collect::<Vec<_>>(),
        "others": comparison.others,
        "moved_upstreams": comparison.moved_upstreams.iter().map(upstream_json).collect::<Vec<_>>(),
        "replay": replay.map(replay_json),
    })
}

fn upstream_json(moved: &MovedUpstream) -> Value {
    let answer = |(route, variant, share): &(String, String, u32)| json!({ "route": route, "variant": variant, "percent": in_percent(*share) });
    json!({ "upstream": moved.upstream, "answers": moved.answers.iter().map(answer).collect::<Vec<_>>() })
}

fn change_json(change: &RouteChange) -> Value {
    let flow = |flow: &Flow| json!({ "from": flow.from, "to": flow.to, "percent": in_percent(flow.millionths) });
    let flows = |flows: &[Flow]| flows.iter().map(flow).collect::<Value>();
    let (flows, note, unknown) = match &change.moved {
        Moved::Exactly(all) => (flows(all), None, None),
        Moved::ByWeight(all, note) => (flows(all), Some(*note), None),
        Moved::Unknown(why) => (Value::Null, None, Some(*why)),
    };
    json!({
        "route": change.route,
        "words": change.words,
        "moved_percent": change.moved.millionths().map(in_percent),
        "moves": flows,
        "note": note,
        "unknown_because": unknown,
    })
}

fn in_percent(millionths: u32) -> f64 {
    f64::from(millionths) / 10_000.0
}

fn replay_json(replay: &LogReplayed) -> Value {
    let replayed = &replay.replayed;
    let one =
        |((from, to), requests): (&(String, String), &u64)| json!({ "from": from, "to": to, "requests": requests });
    json!({
        "requests": replayed.requests,
        "moved": replayed.moved,
        "untold": replayed.unknown,
        "misled": replayed.rerouted,
        "moves": replayed.moves.iter().map(one).collect::<Vec<_>>(),
        "copied": replayed.copied.map(copies_json),
        "foreign_lines": replay.foreign,
    })
}

/// How many copies are to be expected; null without a shadow.
#[expect(clippy::cast_precision_loss, reason = "an expected number is for people")]
fn copies_json(copies: CopyCounts) -> Value {
    let CopyCounts { any, millionths, unknown } = copies;
    if any { json!({ "expected": millionths as f64 / 1e6, "untold": unknown }) } else { Value::Null }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_are_exact() {
        for (millionths, text) in
            [(0, "0 %"), (250_000, "25 %"), (100, "0.01 %"), (1, "0.0001 %"), (1_000_000, "100 %")]
        {
            assert_eq!(percent(millionths), text);
        }
    }
}
