//! What the demo of a rollout suggests to try.

use std::net::SocketAddr;

use super::person::SECRET;
use super::staged::ROLLOUT;

/// What happens without keys.
pub(super) const BY_ITSELF: &str = "\
There is no terminal to read keys from: the demo goes by itself. The canary
fails in its second stage, is repaired and resumed; the approval is given; and
the demo ends when the rollout is complete.";

/// What to try, each with its command.
pub(super) fn stops(proxy: SocketAddr, switch: SocketAddr) -> Vec<(&'static str, String)> {
    vec![
        ("where it is, what is in its way, and what comes next", format!("pointsman rollout show {ROLLOUT}")),
        ("approve its second stage when it asks: the file names `you` as tech-lead", approve()),
        (
            "make the canary fail in any stage: it is rolled back within a second",
            format!("curl -s -X POST http://{switch}/errors    # /slow, /off"),
        ),
        (
            "back after the repair: the same stage, fresh evidence",
            format!(
                "curl -s -X POST http://{switch}/off\n    pointsman rollout resume {ROLLOUT} --reason 'it is repaired'"
            ),
        ),
        (
            "all of it in a browser: open the dashboard, make the canary fail, watch the\n     rollback, read why, resume, approve",
            format!("pointsman dashboard --token-file {SECRET}    # a link"),
        ),
        (
            "in a pipeline: a line at each change, and an exit code for what happened",
            format!("pointsman rollout wait {ROLLOUT} --until complete --timeout 5m"),
        ),
        (
            "stop, look, go on",
            format!(
                "pointsman rollout hold {ROLLOUT} --reason 'a look'\n    pointsman rollout resume {ROLLOUT} --reason 'seen'"
            ),
        ),
        (
            "20 callers, by the weight of its stage",
            format!("for i in $(seq 20); do curl -sb uid=$i {proxy}; done | sort | uniq -c"),
        ),
        (
            "who changed what, when and why; and each decision of the proxy again",
            "pointsman journal\n    pointsman journal --replay".to_owned(),
        ),
    ]
}

/// The line for a shell in the folder of the demo that approves.
pub(super) fn approve() -> String {
    format!("pointsman rollout approve {ROLLOUT} --token-file {SECRET}")
}
