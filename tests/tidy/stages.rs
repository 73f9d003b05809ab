//! The stages of a request: only the line calls them, so that its order is read in one file.

use crate::floors::{first_name, group_at};
use crate::source::{Finding, Source, words};

/// The file that calls the stages, one a row.
const LINE: &str = "src/proxy/request/handle.rs";

/// The stages, each a file beside the line.
const STAGES: &[&str] = &[
    "access",
    "admit",
    "answer",
    "begin",
    "decide",
    "error_response",
    "find",
    "forward",
    "identify",
    "limit",
    "prepare",
    "record",
    "sample",
    "shadow",
    "upgrade",
];

/// Stages that are named elsewhere than in the line.
pub fn calls(file: &Source) -> Vec<Finding> {
    if file.room() != "proxy" || file.path == LINE {
        return Vec::new();
    }
    let reexports = (file.path == LINE.replace("handle", "mod")).then(|| reexported(file)).into_iter().flatten();
    named(file)
        .chain(reexports)
        .filter(|(offset, _)| !file.is_test(*offset))
        .map(|(offset, stage)| {
            file.at(
                offset,
                format!(
                    "`{stage}` is a stage, and only {LINE} calls one: move what both need to a file below the stages"
                ),
            )
        })
        .collect()
}

/// Stages that the line does not name.
pub fn left_out(file: &Source) -> Vec<Finding> {
    if file.path != LINE {
        return Vec::new();
    }
    let found: Vec<&str> = named(file).map(|(_, stage)| stage).collect();
    let missing = STAGES.iter().filter(|stage| !found.contains(stage));
    missing
        .map(|stage| file.at(0, format!("the line has no stage `{stage}`: correct the list in tests/tidy/stages.rs")))
        .collect()
}

/// Where a stage is named by a path: `super::answer`, `super::{answer, …}` or `request::answer`.
fn named(file: &Source) -> impl Iterator<Item = (usize, &'static str)> {
    let roots =
        ["super", "request"].into_iter().flat_map(|root| words(&file.code, root).map(move |at| at + root.len()));
    roots
        .flat_map(|at| members(&file.code, at))
        .filter_map(|(at, name)| STAGES.iter().find(|stage| **stage == name).map(|stage| (at, *stage)))
}

/// Where the door names a stage otherwise than by `mod answer;`.
fn reexported(file: &Source) -> impl Iterator<Item = (usize, &'static str)> {
    let all = STAGES.iter().flat_map(|stage| words(&file.code, stage).map(move |at| (at, *stage)));
    all.filter(|(at, _)| !file.code[..*at].ends_with("mod "))
}

/// The names that the path at `offset` goes on with: one, or the first of each member of a group.
fn members(code: &str, offset: usize) -> Vec<(usize, &str)> {
    let one = || code[offset..].strip_prefix("::").map(|rest| (offset, first_name(rest)));
    group_at(code, offset).unwrap_or_else(|| one().into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::{calls, left_out};
    use crate::source::Source;

    fn count(path: &str, text: &str) -> usize {
        calls(&Source::new(path, text)).len()
    }

    #[test]
    fn a_stage_that_is_called_elsewhere_is_found() {
        for text in [
            "use super::answer;",
            "use super::answer::redirect;",
            "use super::prepare::{for_h1, for_h2};",
            "use super::{\n    body::Source,\n    upgrade::{self, Asked},\n};",
            "fn a() { super::admit::admit() }",
            "use crate::proxy::request::shadow::shadow;",
        ] {
            assert_eq!(count("src/proxy/request/forward.rs", text), 1, "{text}");
        }
    }

    #[test]
    fn a_stage_that_the_door_opens_is_found() {
        for text in [
            "mod answer;\npub(super) use answer::send;",
            "mod answer;\nuse self::answer::{redirect, send};",
            "mod answer;\npub use {answer::send, client_limits::PerClientLimits};",
            "mod answer;\nuse answer as reply;",
        ] {
            assert_eq!(count("src/proxy/request/mod.rs", text), 1, "{text}");
        }
    }

    #[test]
    fn what_lies_below_is_fine() {
        for (path, text) in [
            ("src/proxy/request/handle.rs", "use super::{admit, answer};"),
            (
                "src/proxy/request/mod.rs",
                "mod answer;\nmod answers;\npub mod record;\npub use client_limits::PerClientLimits;",
            ),
            ("src/proxy/request/forward.rs", "use super::{exchange::Exchange, upgrade_request::{Asked, record}};"),
            (
                "src/proxy/request/forward.rs",
                "use crate::telemetry::shadow; fn a(answer: u8) { self.answer(answer::b) }",
            ),
            ("src/proxy/request/forward.rs", "#[cfg(test)]\nmod tests {\n    use super::super::answer;\n}\n"),
            ("src/control/admin/shadow.rs", "use super::record;"),
        ] {
            assert_eq!(count(path, text), 0, "{path}: {text}");
        }
    }

    #[test]
    fn a_stage_without_a_row_is_found() {
        let all = super::STAGES.join(", ");
        let missing = |text: &str| left_out(&Source::new(super::LINE, text)).len();
        assert_eq!(missing(&format!("use super::{{{all}}};")), 0);
        assert_eq!(missing(&format!("use super::{{{}}};", all.replace("admit, ", ""))), 1);
    }
}
