//! The rollout of the demo on the screen: its stages, the shares, where it is and why, what comes next and when, and the
//! guard that is closest to its threshold. Each line fits the terminal.

use std::time::Duration;

use super::live_figures::LiveFigures;
use super::service::DemoFault;
use crate::cli::act::{coloured, stage_time};
use crate::cli::out::shortened;
use crate::cli::paint::Paint;
use crate::cli::release_row::GuardRow;
use crate::cli::rollout_row::{RolloutRow, StageRow};

/// What is shown of a rollout.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct StagedScreen {
    /// How it stands.
    pub(super) row: RolloutRow,
    /// In how long it goes on by itself, where that is known.
    pub(super) next_in: Option<Duration>,
    /// The shares; nothing while there are not enough readings.
    pub(super) figures: Option<LiveFigures>,
    /// What is wrong with the canary.
    pub(super) fault: DemoFault,
}

/// How much of a stage is drawn; the first that fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum StageDetail {
    /// Its weight, and the time in the current one.
    All,
    /// Its weight.
    Weight,
    /// Its name.
    Name,
}

impl StagedScreen {
    /// The lines, each in at most so many columns.
    pub(super) fn lines(&self, columns: usize, paint: Paint) -> Vec<String> {
        let row = &self.row;
        let figures = self.figures.map_or_else(|| "measuring…".to_owned(), |figures| figures.line(columns, paint));
        let state = shortened(&format!("{} {}: {}", row.shape, row.state, row.says), columns);
        let next = format!("next: {}", self.next());
        let mut lines = vec![self.stages(columns, paint), figures, coloured(row.urgency, &state, paint)];
        lines.push(shortened(&next, columns));
        if let Some(guard) = self.guard() {
            let text = format!("guard {} {}: {}", guard.name, guard.bar(), guard.says);
            lines.push(paint.dim(&shortened(&text, columns)));
        }
        lines
    }

    /// The guard that is closest to its threshold; one that has nothing to judge yet only where all have nothing.
    fn guard(&self) -> Option<&GuardRow> {
        let judges = |guard: &&GuardRow| ["watching", "tripped"].contains(&guard.state.as_str());
        let closest = self.row.closest.as_ref();
        closest.filter(judges).or_else(|| self.row.guards.iter().find(judges)).or(closest)
    }

    /// The stages in one line.
    fn stages(&self, columns: usize, paint: Paint) -> String {
        let drawn = |detail| -> Vec<String> { self.row.stages.iter().map(|one| self.stage(one, detail)).collect() };
        let width = |parts: &[String]| parts.iter().map(|part| part.chars().count() + 3).sum::<usize>();
        let parts = [StageDetail::All, StageDetail::Weight]
            .map(drawn)
            .into_iter()
            .find(|parts| width(parts) <= columns.saturating_add(3))
            .unwrap_or_else(|| drawn(StageDetail::Name));
        if width(&parts) > columns.saturating_add(3) {
            return shortened(&parts.join("   "), columns);
        }
        let painted = parts
            .iter()
            .zip(&self.row.stages)
            .map(|(part, stage)| if stage.place == "current" { paint.bold(part) } else { part.clone() });
        painted.collect::<Vec<_>>().join("   ")
    }

    fn stage(&self, stage: &StageRow, detail: StageDetail) -> String {
        let shape = stage.shape(&self.row);
        let time = stage_time(stage);
        match detail {
            StageDetail::All if stage.place == "current" && !time.is_empty() => {
                format!("{shape} {} {} % {time}", stage.name, stage.weight)
            }
            StageDetail::All | StageDetail::Weight => format!("{shape} {} {} %", stage.name, stage.weight),
            StageDetail::Name => format!("{shape} {}", stage.name),
        }
    }

    /// What comes next, and by whom or when.
    fn next(&self) -> String {
        let row = &self.row;
        let following = row.find(&row.stage).and_then(|index| row.stages.get(index + 1));
        let then =
            following.map_or_else(|| "complete".to_owned(), |stage| format!("{}, {} %", stage.name, stage.weight));
        match row.phase.as_str() {
            "rolled_back" | "held" if self.fault != DemoFault::Off => "o ends the fault, then r resumes".to_owned(),
            "rolled_back" => "r resumes, with fresh evidence".to_owned(),
            "held" if row.needs_person => "r resumes".to_owned(),
            "killed" => "k revives".to_owned(),
            "complete" => format!("r begins anew; what remains is an edit: {}", row.edit.join("; ")),
            _ if !row.awaited.is_empty() => format!("{then}, when {} approves: press a", row.awaited.join(" and ")),
            _ => match (self.next_in, row.unblock.as_str()) {
                (Some(wait), _) => format!("{then}, by itself in {} s", wait.as_millis().div_ceil(1_000)),
                (None, "") => then,
                (None, unblock) => format!("{then}, after {unblock}"),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::live_figures::SetWeight;
    use super::super::staged::tests::{asked, look, rolled_back};
    use super::super::staged::{self, StagedLook};
    use super::*;

    fn screen(look: &StagedLook, set: SetWeight, share: f64) -> StagedScreen {
        let errors = 0.0;
        let figures = LiveFigures { share, set, requests: 400.0, errors, generation: 4, fault: DemoFault::Off };
        let next_in = look.next.map(|_| Duration::from_millis(2_900));
        StagedScreen { row: look.row.clone(), next_in, figures: Some(figures), fault: DemoFault::Off }
    }

    fn text(screen: &StagedScreen, columns: usize) -> String {
        screen.lines(columns, Paint::Plain).join("\n")
    }

    #[test]
    fn the_screen_shows_where_it_is_what_blocks_and_what_comes_next() {
        let baking = screen(&look(0, &json!({})), SetWeight::Percent(5.0), 0.051);
        let expected = "\
◐ few 5 % ██████░░░░ 5 s of 8 s   ○ quarter 25 %   ○ all 100 %
stable ██████████████████████████████▒▒ canary   5.1 % (set 5)  400 req/s  0 errors/s  generation 4
◐ gated: in stage few: 5 s of 8 s
next: quarter, 25 %, by itself in 3 s
guard errors ███░░░░░░░ 0.9 of 2.5: errors 1.1 × stable (0.60 to 2.1): 1 of 110 callers, 9 of 1040 …";
        assert_eq!(text(&baking, 100), expected, "{}", text(&baking, 100));
        let asks = screen(&asked(), SetWeight::Percent(25.0), 0.25);
        let expected = "\
● few 5 %   ◐ quarter 25 % ██████░░░░ 5 s of 8 s   ○ all 100 %
stable ████████████████████████▒▒▒▒▒▒▒▒ canary  25.0 % (set 25)  400 req/s  0 errors/s  generation 4
◆ awaiting approval: stage quarter is passed but for approvals
next: all, 100 %, when tech-lead (you) approves: press a
guard errors ███░░░░░░░ 0.9 of 2.5: errors 1.1 × stable (0.60 to 2.1): 1 of 110 callers, 9 of 1040 …";
        assert_eq!(text(&asks, 100), expected, "{}", text(&asks, 100));
        let mut back = screen(&rolled_back(Duration::from_secs(1)), SetWeight::RolledBack, 0.0);
        back.fault = DemoFault::Errors;
        let shown = text(&back, 100);
        assert!(shown.contains("\n✖ rolled back: rolled back by errors: errors 48 × stable"), "{shown}");
        assert!(shown.contains("\nnext: o ends the fault, then r resumes\n"), "{shown}");
        let complete = look(2, &json!({ "state": "complete", "doing": null, "edit": ["stable = \"shop-v2\""] }));
        let shown = text(&screen(&complete, SetWeight::Percent(100.0), 1.0), 100);
        assert!(shown.starts_with("● few 5 %   ● quarter 25 %   ● all 100 %"), "{shown}");
        assert!(shown.contains("\nnext: r begins anew; what remains is an edit: stable = \"shop-v2\"\n"), "{shown}");
    }

    #[test]
    fn a_guard_that_has_nothing_to_judge_hides_no_other() {
        let mut screen = screen(&look(0, &json!({})), SetWeight::Percent(5.0), 0.051);
        let idle = GuardRow { name: "latency".to_owned(), state: "no data".to_owned(), ..GuardRow::default() };
        screen.row.closest = Some(idle);
        assert_eq!(screen.guard().map(|guard| guard.name.as_str()), Some("errors"));
        screen.row.guards.clear();
        assert_eq!(screen.guard().map(|guard| guard.name.as_str()), Some("latency"));
    }

    #[test]
    fn a_line_never_takes_more_columns_than_there_are() {
        for look in [look(0, &json!({})), asked(), rolled_back(Duration::from_secs(1)), staged::StagedLook::default()] {
            for columns in 39..=200 {
                let mut screen = screen(&look, SetWeight::Percent(25.0), 0.25);
                for line in screen.lines(columns, Paint::Plain) {
                    assert!(line.chars().count() <= columns, "{columns}: {line}");
                }
                screen.figures = None;
                assert_eq!(screen.lines(columns, Paint::Plain)[1], "measuring…");
            }
        }
        let narrow = screen(&asked(), SetWeight::Percent(25.0), 0.25).lines(39, Paint::Plain);
        assert_eq!(narrow[0], "● few   ◐ quarter   ○ all", "{narrow:#?}");
    }
}
