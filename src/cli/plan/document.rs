//! The whole document.

use super::change::change;
use super::criteria::go_criteria;
use super::expected::expected;
use super::freeze::freeze;
use super::guards::no_go_criteria;
use super::markup::{PaddedTable, any_of, text};
use super::origin::origin;
use super::rollback::rollback;
use super::sheet::PlanSheet;
use super::stages::stages;

/// The document as Markdown.
pub(super) fn document(sheet: &PlanSheet<'_>) -> String {
    let mut all = format!("# Plan of the rollout {}\n\n", text(&sheet.rollout.name));
    for section in [change, stages, go_criteria, no_go_criteria, expected, freeze, rollback, signatures, origin] {
        all.push_str(&section(sheet));
    }
    let end = all.trim_end().len();
    all.truncate(end);
    all.push('\n');
    all
}

/// Who signs.
fn signatures(sheet: &PlanSheet<'_>) -> String {
    let mut table = PaddedTable::new(&["role", "name", "date", "signature"]);
    let blank = || "                    ".to_owned();
    let owner = sheet.rollout.about.owner.as_ref().map(|owner| text(owner)).unwrap_or_default();
    table.row(["owner".to_owned(), owner, blank(), blank()]);
    for one in &sheet.rollout.approvers {
        table.row([text(&one.role), any_of(&one.people), blank(), blank()]);
    }
    format!("## Signatures\n\n{}", table.markdown())
}
