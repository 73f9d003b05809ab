//! The live part of the demo: once a second, the shares over the last seconds, read from `/status`; and
//! events: reloads, findings, faults, and the effects of keys.

use std::path::PathBuf;
use std::time::Duration;

use rustix::process::{Signal, getpid, kill_process};
use tokio::signal::unix::{self, SignalKind};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{MissedTickBehavior, interval};

use super::brake::{BrakeAct, DemoBrake};
use super::dark_launch::{DemoFindings, PAGE_PATIENCE};
use super::door::DemoDoor;
use super::keys::{DemoKey, KEYS, SingleKeys, pressed};
use super::log_size::keep_small;
use super::panel::Panel;
use super::reading::{ReadingWindow, read};
use super::release::DemoRelease;
use super::service::{DemoFault, Switch};
use crate::cli::admin::{AdminEndpoint, FetchOptions};

/// While the canary has a fault, what its guards do is read so often.
const GLANCE: Duration = Duration::from_millis(100);
/// Into a file, the line is written every so many seconds.
const NOTE_EVERY: u64 = 10;

/// What is watched, and where it is shown.
pub(super) struct LiveView {
    /// The proxy.
    pub(super) admin: AdminEndpoint,
    /// The brake, where its socket can be found.
    pub(super) brake: Option<DemoBrake>,
    /// What the dark launch finds.
    pub(super) findings: DemoFindings,
    /// Where links to the dashboard come from.
    pub(super) door: DemoDoor,
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
        let hinted = std::mem::replace(&mut self.hinted, key.does_nothing());
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
            DemoKey::Dashboard => return vec![self.door.news().await],
            DemoKey::Help => return vec![KEYS.to_owned()],
            DemoKey::Unknown | DemoKey::Approve | DemoKey::RollBack if hinted => {}
            DemoKey::Quit => drop(kill_process(getpid(), Signal::INT)),
            DemoKey::Unknown | DemoKey::Approve | DemoKey::RollBack => {
                return vec![format!("this key does nothing; {KEYS}")];
            }
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
