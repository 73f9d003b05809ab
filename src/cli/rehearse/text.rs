//! The page of a rehearsal.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::figures::{RehearsalPage, grouped, spread, time};
use crate::cli::out;
use crate::cli::paint::Paint;
use crate::rehearsal::{FaultStart, FaultyReport, RunQuantiles, StageTimes};
use crate::release::span;

/// A page fits so many columns.
const COLUMNS: usize = 96;

/// The page.
pub(super) fn page(rehearsed: &RehearsalPage<'_>, paint: Paint) -> String {
    let mut page = Page { text: String::new(), paint };
    page.heading(rehearsed);
    page.faulty(rehearsed);
    page.healthy(rehearsed);
    page.plan(rehearsed);
    page.list("TRAFFIC", traffic(rehearsed));
    page.list("ASSUMED", rehearsed.assumed());
    page.text
}

struct Page {
    text: String,
    paint: Paint,
}

impl Page {
    // Writing to memory cannot fail.
    fn line(&mut self, text: &str) {
        let _ = writeln!(self.text, "{text}");
    }

    fn title(&mut self, title: &str) {
        let title = self.paint.bold(title);
        let _ = writeln!(self.text, "\n{title}");
    }

    fn row(&mut self, key: &str, value: &str) {
        for (at, line) in out::wrapped(value, COLUMNS - 14).iter().enumerate() {
            let key = if at == 0 { key } else { "" };
            let _ = writeln!(self.text, "  {key:<12}{}", line.trim_start());
        }
    }

    fn list(&mut self, title: &str, lines: Vec<String>) {
        self.title(title);
        for text in lines {
            for (at, line) in out::wrapped(&text, COLUMNS - 4).iter().enumerate() {
                let mark = if at == 0 { "-" } else { " " };
                let _ = writeln!(self.text, "  {mark} {}", line.trim_start());
            }
        }
    }

    fn heading(&mut self, rehearsed: &RehearsalPage<'_>) {
        let scene = &rehearsed.rehearsal.scene;
        let name = self.paint.bold(&scene.rollout.name);
        let runs = grouped(rehearsed.report.runs.into());
        let took = rehearsed.took.as_secs_f64();
        let begin = rehearsed.moment(scene.begins_ms);
        let zone = &scene.rollout.about.zone;
        self.line(&format!("{name}: {runs} releases in virtual time, from {begin} {zone} on, played in {took:.1} s"));
    }

    fn faulty(&mut self, rehearsed: &RehearsalPage<'_>) {
        let Some(fault) = rehearsed.rehearsal.fault else { return };
        self.title(&format!("WITH THE FAULT {}", fault.text));
        let begins = match &fault.from {
            FaultStart::FirstWeight => "with the first stage that has a weight".to_owned(),
            FaultStart::Stage(stage) => format!("when stage {stage} is entered"),
            FaultStart::After(ms) => format!("after {} of running time", span(*ms)),
        };
        self.row("it begins", &begins);
        let Some(report) = &rehearsed.report.faulty else {
            self.row("found", "no release came so far: nothing was played with the fault");
            return;
        };
        let FaultyReport { begun, found, rolled_back, .. } = *report;
        let verdict = format!("in {} of {}", grouped(found.into()), grouped(begun.into()));
        let verdict = if found == begun { self.paint.green(&verdict) } else { self.paint.red(&verdict) };
        let held = found - rolled_back;
        let how =
            if held == 0 { String::new() } else { format!("; {} of them held, not rolled back", grouped(held.into())) };
        let _ = writeln!(self.text, "  {:<12}{verdict} releases{how}", "found");
        if found > 0 {
            self.row("after", &found_after(&report.found_ms));
            self.row("by", &counts(&report.by));
            self.row("in stage", &counts(&report.stages));
            let until = match (rolled_back, held) {
                (_, 0) => "hurt until the canary got none",
                (0, _) => "hurt until it was held; the canary keeps its share until a person acts",
                _ => "hurt until the canary got none, or was held and keeps its share until a person acts",
            };
            self.row("requests", &format!("{}, {until}", spread(&report.requests, grouped)));
            self.row("callers", &spread(&report.callers, grouped));
        }
        if !report.others.is_empty() {
            self.row("else", &format!("stopped by what counts no requests: {}", counts(&report.others)));
        }
        if !report.warned.is_empty() {
            self.row("warnings", &counts(&report.warned));
        }
        if found < begun {
            let hurt = spread(&report.unfound_requests, grouped);
            self.row("not found", &format!("in {}: until the release is over it hurts {hurt} requests", begun - found));
        }
    }

    fn healthy(&mut self, rehearsed: &RehearsalPage<'_>) {
        self.title("WITHOUT A FAULT");
        let report = &rehearsed.report.healthy;
        let runs = rehearsed.report.runs;
        let promise = rehearsed
            .promise()
            .map_or_else(|| "nothing: their bounds are absolute".to_owned(), |alpha| format!("{:.2} %", alpha * 100.0));
        let bound = upper_bound(report.rolled_back, runs) * 100.0;
        let (back, of) = (report.rolled_back, grouped(runs.into()));
        self.row(
            "rolled back",
            &format!("{back} of {of} (at most {bound:.1} % at 95 % confidence; the guards promise {promise})"),
        );
        self.row("held", &format!("{} of {}", report.held, grouped(runs.into())));
        if !report.by.is_empty() {
            self.row("by", &counts(&report.by));
        }
        if report.complete_ms.median.is_some() {
            self.row("complete", &format!("after {}", spread(&report.complete_ms, span)));
        }
        if report.stuck > 0 {
            let because = report.because.as_deref().unwrap_or_default();
            self.row("no end", &format!("{} of {}: {because}", report.stuck, grouped(runs.into())));
        }
    }

    fn plan(&mut self, rehearsed: &RehearsalPage<'_>) {
        self.title("THE PLAN, with its freeze windows, on average");
        let stages = &rehearsed.timeline.stages;
        let width = stages.iter().map(|stage| stage.name.chars().count()).max().unwrap_or(0).max(5);
        self.line(&format!(
            "  {:<width$}  {:<20}  {:<20}  {:<11}  {:>12}  {:>11}",
            "stage", "entered", "left", "frozen", "requests", "callers"
        ));
        for stage in stages {
            let StageTimes { name, enters_ms, leaves_ms, frozen_ms, requests, callers, .. } = stage;
            let left = leaves_ms.map_or_else(|| "-".to_owned(), |at| rehearsed.moment(at));
            let frozen = if *frozen_ms > 0 { span(*frozen_ms) } else { "-".to_owned() };
            let (entered, requests, callers) = (rehearsed.moment(*enters_ms), grouped(*requests), grouped(*callers));
            let line =
                format!("  {name:<width$}  {entered:<20}  {left:<20}  {frozen:<11}  {requests:>12}  {callers:>11}");
            self.line(line.trim_end());
        }
        if let Some(at) = rehearsed.timeline.complete_ms {
            let lasts = span(at.saturating_sub(rehearsed.timeline.begins_ms));
            self.line(&format!("  complete on {}, after {lasts}", rehearsed.moment(at)));
        }
        if let Some(why) = &rehearsed.timeline.stuck {
            let text = self.paint.red(&format!("  it does not come to its end: {why}"));
            self.line(&text);
        }
    }
}

/// How soon it was found, over all releases with the fault.
fn found_after(of: &RunQuantiles) -> String {
    let word = |ms: Option<u64>| ms.map_or_else(|| "not found".to_owned(), time);
    if of.max.is_some() {
        return spread(of, time);
    }
    format!("median {}, p90 {}", word(of.median), word(of.p90))
}

/// The figures of the traffic, with where they are from.
fn traffic(rehearsed: &RehearsalPage<'_>) -> Vec<String> {
    let figures = rehearsed.known.figures.iter();
    figures.map(|one| format!("{}: {} {} ({})", one.route, one.value, one.what, one.source)).collect()
}

/// `errors 198, latency 2`: the most first.
fn counts(of: &BTreeMap<String, u32>) -> String {
    let mut sorted: Vec<(&String, &u32)> = of.iter().collect();
    sorted.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    sorted.iter().map(|(name, count)| format!("{name} {}", grouped(u64::from(**count)))).collect::<Vec<_>>().join(", ")
}

/// The upper bound of a rate with a confidence of 95 %: the largest one under which so few are found once in 20 times.
pub(super) fn upper_bound(found: u32, of: u32) -> f64 {
    const DOUBT: f64 = 0.05;
    let (mut low, mut high) = (0.0, 1.0);
    if found >= of {
        return 1.0;
    }
    for _ in 0..50 {
        let rate = f64::midpoint(low, high);
        if at_most(found, of, rate) > DOUBT {
            low = rate;
        } else {
            high = rate;
        }
    }
    high
}

/// The probability that at most `found` of `of` have what each has with a probability.
fn at_most(found: u32, of: u32, rate: f64) -> f64 {
    let mut ln_term = f64::from(of) * (-rate).ln_1p();
    let mut sum = ln_term.exp();
    for k in 1..=found {
        ln_term += (f64::from(of - k + 1) / f64::from(k)).ln() + rate.ln() - (-rate).ln_1p();
        sum += ln_term.exp();
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_and_bounds() {
        let few = RunQuantiles { median: Some(5_000), ..RunQuantiles::default() };
        assert_eq!(found_after(&few), "median 5.0 s, p90 not found");
        let of = BTreeMap::from([("latency".to_owned(), 2), ("errors".to_owned(), 1_198)]);
        assert_eq!(counts(&of), "errors 1 198, latency 2");
        // Exact, by Clopper and Pearson.
        for (found, of, bound) in [(0, 200, 0.014_867), (5, 100, 0.102_25), (1, 1_000, 0.004_735), (100, 100, 1.0)] {
            let computed = upper_bound(found, of);
            assert!((computed - bound).abs() < 2e-5, "{found} of {of}: {computed}");
        }
    }
}
