//! The live part of the demo: once a second, the shares over the last seconds, read from `/status`; and
//! events: reloads, findings, faults, and the effects of keys.

use std::collections::VecDeque;
use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Signal, getpid, kill_process};
use serde_json::Value;
use tokio::signal::unix::{self, SignalKind};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{MissedTickBehavior, interval};

use super::brake::{BrakeAct, DemoBrake};
use super::dark_launch::{DemoFindings, PAGE_PATIENCE};
use super::keys::{DemoKey, KEYS, SingleKeys};
use super::live_figures::{LiveFigures, SetWeight};
use super::panel::{Live, Panel};
use super::release::DemoRelease;
use super::service::{DemoFault, Switch};
use crate::cli::admin::{AdminEndpoint, FetchOptions};
use crate::compare::escape_controls;

/// Readings that are kept: the window is one shorter, and in it every caller of the demo's traffic comes once.
const READINGS: usize = 6;
/// While the canary has a fault, what its guards do is read so often.
const GLANCE: Duration = Duration::from_millis(100);
/// Into a file, the line is written every so many seconds.
const NOTE_EVERY: u64 = 10;
/// The demo's access log is emptied when it is larger.
const LOG_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// What is watched, and where it is shown.
pub(super) struct LiveView {
    /// The proxy.
    pub(super) admin: AdminEndpoint,
    /// The brake, where its socket can be found.
    pub(super) brake: Option<DemoBrake>,
    /// What the dark launch finds.
    pub(super) findings: DemoFindings,
    /// The canary's fault.
    pub(super) switch: Switch,
    /// Where it is shown.
    pub(super) panel: Panel,
    /// The keys that are pressed, and how the terminal is set for them.
    pub(super) keys: Option<(UnboundedReceiver<DemoKey>, SingleKeys)>,
    /// The routes file.
    pub(super) file: PathBuf,
    /// The access log, when the demo has chosen its place.
    pub(super) log: Option<PathBuf>,
    /// Whether the last key did nothing, and the screen said so.
    pub(super) hinted: bool,
    /// What was wrong with the canary at the last look.
    pub(super) fault: DemoFault,
    /// How its release stood.
    pub(super) release: DemoRelease,
}

/// One look at `/status`.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct StatusReading {
    generation: u64,
    weight: f64,
    killed: bool,
    rolled_back: bool,
    /// Who killed it, and why, when it was by a call.
    killed_by: Option<String>,
    stable: u64,
    canary: u64,
    errors: u64,
    reload: Option<Reload>,
}

/// What the last reload came to.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Reload {
    at: String,
    rejected: Option<String>,
    summary: Vec<String>,
}

/// The last readings.
#[derive(Debug, Default)]
struct ReadingWindow(VecDeque<StatusReading>);

impl LiveView {
    /// Watches until the runtime ends.
    pub(super) async fn run(mut self) -> std::io::Result<()> {
        let mut ticks = interval(Duration::from_secs(1));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut glances = interval(GLANCE);
        glances.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut resized = unix::signal(SignalKind::window_change())?;
        let mut continued = unix::signal(SignalKind::from_raw(Signal::CONT.as_raw()))?;
        let (mut window, mut second) = (ReadingWindow::default(), 0_u64);
        loop {
            let mut news = tokio::select! {
                _ = ticks.tick() => {
                    second += 1;
                    self.tick(&mut window).await
                }
                _ = glances.tick(), if self.may_be_rolled_back() => self.glance(&mut window).await,
                Some(key) = pressed(&mut self.keys) => self.handle_key(key, &mut window).await,
                _ = resized.recv() => Vec::new(),
                _ = continued.recv() => {
                    if let Some((_, single)) = &self.keys {
                        single.set();
                    }
                    Vec::new()
                }
            };
            news.extend(self.fault_news());
            self.panel.paint(window.live(self.fault), &news);
            if second == NOTE_EVERY {
                second = 0;
                self.panel.note();
            }
        }
    }

    async fn tick(&mut self, window: &mut ReadingWindow) -> Vec<String> {
        if let Some(log) = &self.log {
            keep_small(log);
        }
        let Some((reading, release)) = read(&self.admin).await else { return Vec::new() };
        if !self.release.is_guarded() && !release.is_rolled_back() {
            // The first look.
            self.release = release.clone();
        }
        // What the control address has changed comes before what follows from it.
        let mut news: Vec<String> = self.fault_news().into_iter().collect();
        news.extend(window.push(reading));
        news.extend(self.follow(release));
        news.extend(self.findings.news().await);
        news
    }

    /// The fault, when it is another than at the last look.
    fn fault_news(&mut self) -> Option<String> {
        let now = self.switch.fault();
        (std::mem::replace(&mut self.fault, now) != now).then(|| self.described(now))
    }

    /// Whether the guards may be about to act.
    fn may_be_rolled_back(&self) -> bool {
        self.switch.fault() != DemoFault::Off && self.release.is_guarded() && !self.release.is_rolled_back()
    }

    /// Looks at the release alone.
    async fn glance(&mut self, window: &mut ReadingWindow) -> Vec<String> {
        let answer = self.admin.ask("/v1/rollouts", FetchOptions::within(PAGE_PATIENCE)).await;
        let Some(page) = answer.ok().and_then(|answer| answer.json()) else { return Vec::new() };
        let release = DemoRelease::parse(&page["rollouts"]);
        if release.is_rolled_back() {
            window.begin_anew(|last| last.rolled_back = true);
        }
        self.follow(release).into_iter().collect()
    }

    /// Takes how the release stands now, and returns what is new.
    fn follow(&mut self, release: DemoRelease) -> Option<String> {
        let next = match (&self.keys, &self.brake) {
            (Some(_), _) => "o ends the fault, r resumes the canary",
            (None, Some(brake)) => &brake.resume_line,
            (None, None) => "give `shop-v2` another `revision` in the routes file",
        };
        let news = release.news(&self.release, &self.switch, next);
        self.release = release;
        news
    }

    async fn handle_key(&mut self, key: DemoKey, window: &mut ReadingWindow) -> Vec<String> {
        // Once is enough for keys that do nothing.
        let hinted = std::mem::replace(&mut self.hinted, key == DemoKey::Unknown);
        match key {
            DemoKey::Errors => drop(self.switch.press(DemoFault::Errors)),
            DemoKey::Slow => drop(self.switch.press(DemoFault::Slow)),
            DemoKey::Off if self.switch.fault() == DemoFault::Off => return vec![self.described(DemoFault::Off)],
            DemoKey::Off => self.switch.set(DemoFault::Off),
            DemoKey::Kill => return self.press_brake(window).await,
            DemoKey::Resume => return self.resume(window).await,
            DemoKey::Edit(_) if window.is_rejected() => {
                let file = self.file.display();
                return vec![format!("not edited: {file} is invalid at the moment; correct it by hand first")];
            }
            DemoKey::Edit(edit) => {
                return vec![match edit.apply(&self.file) {
                    Ok(done) => done,
                    Err(error) => format!("not edited: {error:#}"),
                }];
            }
            DemoKey::Help => return vec![KEYS.to_owned()],
            DemoKey::Unknown if hinted => {}
            DemoKey::Quit => drop(kill_process(getpid(), Signal::INT)),
            DemoKey::Unknown => return vec![format!("this key does nothing; {KEYS}")],
        }
        Vec::new()
    }

    /// Kills the canary, or revives it when it is killed.
    async fn press_brake(&self, window: &mut ReadingWindow) -> Vec<String> {
        let Some(brake) = &self.brake else {
            let file = self.file.display();
            return vec![format!("not killed: the admin socket is not there; write it to [kill] of {file}")];
        };
        let act = if window.is_killed() { BrakeAct::Revive } else { BrakeAct::Kill };
        match brake.press(act).await {
            Ok(done) => {
                window.set_killed(act);
                vec![done]
            }
            Err(why) => vec![format!("not done: {why}")],
        }
    }

    /// Ends the rollback of the canary.
    async fn resume(&mut self, window: &mut ReadingWindow) -> Vec<String> {
        let Some(brake) = &self.brake else {
            return vec!["not resumed: the admin socket is not there".to_owned()];
        };
        match brake.resume().await {
            Ok(done) => {
                window.begin_anew(|last| last.rolled_back = false);
                // The demo itself has done this: it is no news.
                self.release = DemoRelease::resumed();
                vec![done]
            }
            Err(why) => vec![format!("not resumed: {why}")],
        }
    }

    /// What a fault is, and what an operator does about it.
    fn described(&self, now: DemoFault) -> String {
        let what = match now {
            DemoFault::Off => return "canary's fault: off".to_owned(),
            DemoFault::Errors => "errors: the canary answers 500",
            DemoFault::Slow => "slow: the canary takes 400 ms for each answer",
        };
        let cure = match (&self.keys, &self.brake) {
            (Some(_), _) => "k kills the canary: all callers get stable; o ends the fault",
            (None, Some(brake)) => &brake.line,
            (None, None) => "write \"shop:canary\" to `variants` of [kill] in the routes file",
        };
        if self.release.is_rolled_back() {
            return format!("canary's fault: {what}\n  it is rolled back: no caller meets the fault");
        }
        if self.release.is_guarded() {
            let late = if now == DemoFault::Slow { "; that for slow responses begins after a minute" } else { "" };
            return format!("canary's fault: {what}\n  its guards watch{late}; by hand: {cure}");
        }
        format!("canary's fault: {what}\n  what an operator does now: {cure}")
    }
}

/// The next key. Never, when there are none.
async fn pressed(keys: &mut Option<(UnboundedReceiver<DemoKey>, SingleKeys)>) -> Option<DemoKey> {
    match keys {
        Some((keys, _)) => keys.recv().await,
        None => std::future::pending().await,
    }
}

/// Empties a log that has become large: the writer appends, so it goes on from the start.
fn keep_small(log: &Path) {
    if std::fs::metadata(log).is_ok_and(|found| found.len() > LOG_BYTES_MAX) {
        // What cannot be emptied now is tried again in a second.
        let _ = OpenOptions::new().write(true).truncate(true).open(log);
    }
}

async fn read(admin: &AdminEndpoint) -> Option<(StatusReading, DemoRelease)> {
    let answer = admin.ask("/status", FetchOptions::within(PAGE_PATIENCE)).await.ok()?;
    let page = answer.json()?;
    let release = shop(&page).map_or_else(DemoRelease::default, |route| DemoRelease::parse(&route["releases"]));
    Some((StatusReading { rolled_back: release.is_rolled_back(), ..StatusReading::parse(&page)? }, release))
}

/// The route of the canary.
fn shop(status: &Value) -> Option<&Value> {
    status["routes"].as_array()?.iter().find(|route| route["name"] == "shop")
}

impl StatusReading {
    fn parse(status: &Value) -> Option<Self> {
        let route = shop(status);
        let variant = |name: &str| {
            let variants = route.and_then(|route| route["variants"].as_array());
            variants
                .and_then(|variants| variants.iter().find(|variant| variant["name"] == name))
                .unwrap_or(&Value::Null)
        };
        let (stable, canary) = (variant("stable"), variant("canary"));
        let requests = |variant: &Value| variant["requests"].as_u64().unwrap_or(0);
        let errors = |variant: &Value| variant["errors"].as_u64().unwrap_or(0);
        Some(Self {
            generation: status["generation"].as_u64()?,
            weight: canary["weight"].as_f64().unwrap_or(0.0),
            killed: canary["killed"].as_bool().unwrap_or(false),
            rolled_back: false,
            killed_by: killed_by(&status["kills"]),
            stable: requests(stable),
            canary: requests(canary),
            errors: errors(stable) + errors(canary),
            reload: Reload::parse(&status["last_reload"], &status["last_change"]),
        })
    }
}

/// The newest kill by a call, in words.
fn killed_by(kills: &Value) -> Option<String> {
    let is_of_canary =
        |scope: &Value| scope["all"] == true || scope["route"] == "shop" || scope["variant"] == "shop:canary";
    let calls = kills.as_array()?.iter().filter(|kill| kill["source"] == "call");
    let kill = calls.filter(|kill| is_of_canary(&kill["scope"])).max_by_key(|kill| kill["seq"].as_u64())?;
    let (who, reason) = (kill["who"]["name"].as_str().unwrap_or("?"), kill["reason"].as_str().unwrap_or_default());
    Some(escape_controls(&format!("canary killed by {who}: {reason}")).into_owned())
}

impl Reload {
    /// The last reload, and what the last one of those that changed anything has changed.
    fn parse(reload: &Value, change: &Value) -> Option<Self> {
        let texts = |value: &Value| {
            let list = value.as_array().map(Vec::as_slice).unwrap_or_default();
            list.iter().filter_map(|text| text.as_str().map(|text| escape_controls(text).into_owned())).collect()
        };
        Some(Self {
            at: reload.get("at")?.to_string(),
            rejected: (reload["outcome"] == "rejected")
                .then(|| spelled_lines(reload["text"].as_str().unwrap_or("the file is rejected"))),
            summary: texts(&change["summary"]),
        })
    }
}

/// Lines without letters that steer a terminal.
fn spelled_lines(text: &str) -> String {
    text.trim_end().lines().map(escape_controls).collect::<Vec<_>>().join("\n")
}

impl ReadingWindow {
    /// Whether the proxy rejected the file as it is now.
    fn is_rejected(&self) -> bool {
        self.0.back().and_then(|last| last.reload.as_ref()).is_some_and(|reload| reload.rejected.is_some())
    }

    /// Whether the canary is killed.
    fn is_killed(&self) -> bool {
        self.0.back().is_some_and(|last| last.killed)
    }

    /// The demo itself has done this: it is no news of the next reading.
    fn set_killed(&mut self, act: BrakeAct) {
        self.begin_anew(|last| {
            last.killed = act == BrakeAct::Kill;
            last.killed_by = None;
        });
    }

    /// Changes the last reading. Earlier figures do not describe what follows.
    fn begin_anew(&mut self, change: impl FnOnce(&mut StatusReading)) {
        if let Some(mut last) = self.0.pop_back() {
            change(&mut last);
            self.0.clear();
            self.0.push_back(last);
        }
    }

    /// Takes a reading, and returns what is new since the previous one.
    fn push(&mut self, reading: StatusReading) -> Vec<String> {
        let killed = self.0.back().and_then(|last| match (last.killed, reading.killed) {
            (false, true) => Some(reading.killed_by.clone().unwrap_or_else(|| "canary killed by the file".to_owned())),
            (true, false) => Some("canary revived".to_owned()),
            (true, true) | (false, false) => None,
        });
        let news = self.0.back().and_then(|last| {
            let reload = reading.reload.as_ref().filter(|reload| last.reload.as_ref() != Some(reload))?;
            match &reload.rejected {
                Some(text) => Some(format!("{text}\nrejected: generation {} stays in effect", reading.generation)),
                None if reading.generation == last.generation => None,
                None => Some(generations(last.generation, reading.generation, &reload.summary.join("; "))),
            }
        });
        // Figures from before an edit or a kill do not describe the shares after it.
        let is_other = |last: &StatusReading| {
            (last.generation, last.killed, last.rolled_back)
                != (reading.generation, reading.killed, reading.rolled_back)
        };
        if self.0.back().is_some_and(is_other) {
            self.0.clear();
        }
        self.0.push_back(reading);
        if self.0.len() > READINGS {
            self.0.pop_front();
        }
        news.into_iter().chain(killed).collect()
    }

    /// What the live line shows.
    #[expect(clippy::cast_precision_loss, reason = "shares of a few seconds, for people")]
    fn live(&self, fault: DemoFault) -> Live {
        let (Some(first), Some(last)) = (self.0.front(), self.0.back()) else { return Live::None };
        if self.0.len() < 2 {
            return Live::Measuring;
        }
        let seconds = (self.0.len() - 1) as f64;
        let stable = last.stable.saturating_sub(first.stable);
        let canary = last.canary.saturating_sub(first.canary);
        let all = stable + canary;
        Live::Figures(LiveFigures {
            share: if all == 0 { 0.0 } else { canary as f64 / all as f64 },
            set: match (last.killed, last.rolled_back) {
                (true, _) => SetWeight::Killed,
                (false, true) => SetWeight::RolledBack,
                (false, false) => SetWeight::Percent(last.weight),
            },
            requests: all as f64 / seconds,
            errors: last.errors.saturating_sub(first.errors) as f64 / seconds,
            generation: last.generation,
            fault,
        })
    }
}

/// What the last of the reloads since `before` has changed. `/status` keeps no other.
fn generations(before: u64, now: u64, summary: &str) -> String {
    if now == before + 1 {
        return format!("generation {now}: {summary}");
    }
    format!("generations {} to {now}, within a second; the last: {summary}", before + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::admin::{AdminPlace, Credentials};
    use crate::cli::paint::Paint;

    fn reading(generation: u64, stable: u64, canary: u64) -> StatusReading {
        StatusReading { generation, weight: 10.0, stable, canary, ..StatusReading::default() }
    }

    fn line(window: &ReadingWindow, fault: DemoFault) -> String {
        match window.live(fault) {
            Live::Figures(gauge) => gauge.line(200, Paint::Plain),
            other @ (Live::None | Live::Measuring) => format!("{other:?}"),
        }
    }

    #[test]
    fn a_share_is_that_of_the_window() {
        let mut window = ReadingWindow::default();
        for second in 0..20 {
            assert!(window.push(reading(1, 45 * second, 5 * second)).is_empty());
        }
        let shown = line(&window, DemoFault::Off);
        assert!(shown.contains("canary  10.0 % (set 10)  50 req/s  0 errors/s  generation 1"), "{shown}");
        assert!(!shown.contains("fault"), "{shown}");
        assert!(line(&window, DemoFault::Slow).contains("fault: slow"));
    }

    #[test]
    fn no_requests_is_no_division() {
        let mut window = ReadingWindow::default();
        assert_eq!(window.live(DemoFault::Off), Live::None);
        window.push(reading(1, 0, 0));
        assert_eq!(window.live(DemoFault::Off), Live::Measuring);
        window.push(reading(1, 0, 0));
        assert!(line(&window, DemoFault::Off).contains("canary   0.0 %"));
    }

    #[test]
    fn an_edit_restarts_the_figures() {
        let mut window = ReadingWindow::default();
        for now in [reading(1, 0, 0), reading(1, 1000, 0), reading(2, 1000, 0), reading(2, 1000, 50)] {
            window.push(now);
        }
        assert!(line(&window, DemoFault::Off).contains("canary 100.0 %"));
    }

    #[test]
    fn no_generation_is_passed_over() {
        assert_eq!(generations(1, 2, "a"), "generation 2: a");
        assert_eq!(generations(1, 3, "a"), "generations 2 to 3, within a second; the last: a");
        assert_eq!(generations(1, 5, "a"), "generations 2 to 5, within a second; the last: a");
    }

    #[test]
    fn a_log_is_kept_small() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("access.log");
        keep_small(&log);
        assert!(!log.exists(), "nothing is made");
        std::fs::write(&log, "a line\n").unwrap();
        keep_small(&log);
        assert_eq!(std::fs::read_to_string(&log).unwrap(), "a line\n");
        std::fs::File::options().write(true).open(&log).unwrap().set_len(LOG_BYTES_MAX + 1).unwrap();
        keep_small(&log);
        assert_eq!(std::fs::metadata(&log).unwrap().len(), 0);
    }

    #[test]
    fn reloads_are_news_once() {
        let reload = |at: &str, rejected: Option<&str>| {
            let summary = vec!["shop canary 10 → 50".to_owned()];
            Some(Reload { at: at.to_owned(), rejected: rejected.map(str::to_owned), summary })
        };
        let mut window = ReadingWindow::default();
        assert!(window.push(StatusReading { reload: reload("1", None), ..reading(1, 0, 0) }).is_empty());
        let news = window.push(StatusReading { reload: reload("2", None), ..reading(2, 0, 0) });
        assert_eq!(news, ["generation 2: shop canary 10 → 50"]);
        assert!(window.push(StatusReading { reload: reload("2", None), ..reading(2, 0, 0) }).is_empty());
        let news = window.push(StatusReading { reload: reload("3", Some("error: no")), ..reading(2, 0, 0) });
        assert_eq!(news, ["error: no\nrejected: generation 2 stays in effect"]);
        assert!(window.is_rejected(), "keys do not edit the file");
        window.push(StatusReading { reload: reload("4", None), ..reading(3, 0, 0) });
        assert!(!window.is_rejected());
    }

    #[test]
    fn a_kill_by_another_terminal_is_news_and_restarts_the_figures() {
        let mut window = ReadingWindow::default();
        let killed = |killed_by: Option<&str>| StatusReading {
            killed: true,
            killed_by: killed_by.map(str::to_owned),
            ..reading(1, 1000, 100)
        };
        window.push(reading(1, 0, 0));
        window.push(reading(1, 1000, 100));
        assert_eq!(window.push(killed(Some("canary killed by ana: errors"))), ["canary killed by ana: errors"]);
        assert!(window.is_killed() && window.live(DemoFault::Off) == Live::Measuring);
        assert_eq!(window.push(reading(1, 1000, 100)), ["canary revived"]);
        window.set_killed(BrakeAct::Kill);
        assert!(window.push(killed(None)).is_empty(), "the key has said it");
        let kills = serde_json::json!([
            { "source": "file", "place": "routes.toml:1" },
            { "source": "call", "scope": { "all": true }, "seq": 2, "who": { "name": "a\u{1b}" }, "reason": "errors" },
            { "source": "call", "scope": { "route": "shop" }, "seq": 1, "who": { "name": "bo" }, "reason": "older" },
            { "source": "call", "scope": { "shadow": "api" }, "seq": 3, "who": { "name": "bo" }, "reason": "other" },
        ]);
        assert_eq!(killed_by(&kills).unwrap(), "canary killed by a\\u{1b}: errors");
        assert_eq!(killed_by(&Value::Null), None);
    }

    #[test]
    fn foreign_text_does_not_steer_the_terminal() {
        let applied = serde_json::json!({ "at": "1", "outcome": "applied", "summary": ["a\u{1b}[2J → b"] });
        assert_eq!(Reload::parse(&applied, &applied).unwrap().summary, ["a\\u{1b}[2J → b"]);
        let rejected =
            serde_json::json!({ "at": "1", "outcome": "rejected", "text": "error: \u{1b}c\n | a\u{202e}b\n" });
        assert_eq!(
            Reload::parse(&rejected, &Value::Null).unwrap().rejected.unwrap(),
            "error: \\u{1b}c\n | a\\u{202e}b"
        );
    }

    #[tokio::test]
    async fn a_page_that_is_not_answered_is_given_up_within_a_second() {
        assert!(PAGE_PATIENCE * 2 < Duration::from_secs(1), "two pages a second");
        // It is connected to, and never answers.
        let silent = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let place = AdminPlace::named(&silent.local_addr().unwrap().to_string()).unwrap();
        assert_eq!(read(&AdminEndpoint::at(place, Credentials::default())).await, None);
    }
}
