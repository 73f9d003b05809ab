//! Where the figures and dates of the document are from, and what is assumed.

use super::markup::{PaddedTable, bullets, code, text};
use super::sheet::PlanSheet;
use crate::release::span;

/// How the document was made.
pub(super) fn origin(sheet: &PlanSheet<'_>) -> String {
    let mut table = PaddedTable::new(&["what", ""]);
    let mut row = |what: &str, value: String| table.row([what.to_owned(), value]);
    row("made", sheet.date(sheet.made_ms));
    row("by", format!("pointsman {}", env!("CARGO_PKG_VERSION")));
    row("file", text(sheet.file));
    row("hash of the file", text(sheet.config));
    row("hash of the stages", sheet.plan_hash());
    row("running proxy", running(sheet));
    let approval = match sheet.approval_delay_ms {
        0 => "people approve at once; `--approval-delay` gives another time".to_owned(),
        ms => format!("people approve {} after they are asked", span(ms)),
    };
    let points = [
        approval,
        "gates pass at once, endpoints are usable, nothing is held or killed".to_owned(),
        "the rate of requests stays as it is, by day and by night, and each caller sends as many requests as the others".to_owned(),
        "callers are those of an hour, at most 500 000, however long a stage lasts".to_owned(),
        "what is measured is the traffic of one process; with several replicas `--rate` gives their sum".to_owned(),
        "the canary is as good as stable, but for the faults in the table".to_owned(),
        "evidence comes as it does on average; queries of Prometheus and webhooks are not played".to_owned(),
    ];
    format!(
        "## How this document was made\n\n{}It holds for this file: after an edit make it again with {}. Assumed is:\n\n{}",
        table.markdown(),
        code(&format!("pointsman plan {} {}", sheet.rollout.name, sheet.file)),
        bullets(&points)
    )
}

/// Whether the proxy runs this plan.
fn running(sheet: &PlanSheet<'_>) -> String {
    match &sheet.proxy {
        Err(why) => format!("none was asked: {}", text(why)),
        Ok(proxy) => {
            let place = text(&proxy.place);
            let has = match &proxy.plan {
                _ if proxy.config == sheet.config => "runs this file".to_owned(),
                Some(plan) if *plan == sheet.plan_hash() => "runs another file with the same stages".to_owned(),
                Some(plan) => {
                    format!("**runs another plan of this rollout**: the hash of its stages is {}", text(plan))
                }
                None => "does not have this rollout yet".to_owned(),
            };
            format!("{place} {has}")
        }
    }
}
