//! The live part of the demo of a rollout: ten times a second, how it stands; once a second, the shares of the last
//! seconds. Keys act on it; without them a script does.

use std::path::PathBuf;
use std::sync::mpsc;
use std::time::Duration;

use rustix::process::{Signal, getpid, kill_process};
use tokio::signal::unix::{self, SignalKind};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{MissedTickBehavior, interval};

use super::brake::BrakeAct;
use super::dark_launch::PAGE_PATIENCE;
use super::door::DemoDoor;
use super::keys::{DemoKey, STAGED_KEYS, SingleKeys, pressed};
use super::log_size::keep_small;
use super::panel::{Live, Panel};
use super::reading::{ReadingWindow, read};
use super::script::{DemoScript, ScriptAct, ScriptEnd};
use super::service::{DemoFault, Switch};
use super::staged::{ROLLOUT, StagedLook};
use super::staged_hand::{self, StagedAct};
use super::staged_screen::StagedScreen;
use super::staged_tour;
use crate::cli::admin::{AdminEndpoint, FetchOptions};
use crate::cli::paint::Paint;
use crate::clock::Clock;

/// Between two looks at the rollout.
const GLANCE: Duration = Duration::from_millis(100);
/// The reason of what the script does.
const SCRIPT: &str = "the demo goes by itself";

/// What is watched, and where it is shown.
pub(super) struct StagedView {
    /// The proxy, asked with the token of the demo.
    pub(super) admin: AdminEndpoint,
    /// Where links to the dashboard come from.
    pub(super) door: DemoDoor,
    /// The canary's fault.
    pub(super) switch: Switch,
    /// Where it is shown.
    pub(super) panel: Panel,
    /// The keys that are pressed, and how the terminal is set for them.
    pub(super) keys: Option<(UnboundedReceiver<DemoKey>, SingleKeys)>,
    /// What is done where there are no keys, and who waits for its end.
    pub(super) script: Option<(DemoScript, mpsc::Sender<ScriptEnd>)>,
    /// The access log, when the demo has chosen its place.
    pub(super) log: Option<PathBuf>,
    /// The last look.
    pub(super) look: StagedLook,
    /// What was wrong with the canary at the last look.
    pub(super) fault: DemoFault,
}

impl StagedView {
    /// Watches until the runtime ends.
    pub(super) async fn run(mut self) -> std::io::Result<()> {
        let mut ticks = interval(Duration::from_secs(1));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut glances = interval(GLANCE);
        glances.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut resized = unix::signal(SignalKind::window_change())?;
        let mut continued = unix::signal(SignalKind::from_raw(Signal::CONT.as_raw()))?;
        let mut window = ReadingWindow::default();
        let mut shown = Vec::new();
        loop {
            let news = tokio::select! {
                _ = ticks.tick() => self.tick(&mut window).await,
                _ = glances.tick() => self.glance(&mut window).await,
                Some(key) = pressed(&mut self.keys) => self.handle_key(key).await,
                _ = resized.recv() => {
                    shown.clear();
                    Vec::new()
                }
                _ = continued.recv() => {
                    if let Some((_, single)) = &self.keys {
                        single.set();
                    }
                    shown.clear();
                    Vec::new()
                }
            };
            let screen = self.screen(&window);
            let lines = screen.lines(usize::MAX, Paint::Plain);
            if !news.is_empty() || lines != shown {
                shown = lines;
                self.panel.paint(Live::Stages(Box::new(screen)), &news);
            }
        }
    }

    /// Reads the shares.
    async fn tick(&mut self, window: &mut ReadingWindow) -> Vec<String> {
        if let Some(log) = &self.log {
            keep_small(log);
        }
        let Some((mut reading, _)) = read(&self.admin).await else { return Vec::new() };
        reading.rolled_back = self.look.is_rolled_back();
        // Kills are news of the rollout.
        reading.killed_by = None;
        reading.killed = self.look.row.phase == "killed";
        window.push_quietly(reading)
    }

    /// Looks at the rollout.
    async fn glance(&mut self, window: &mut ReadingWindow) -> Vec<String> {
        let mut news: Vec<String> = self.fault_news().into_iter().collect();
        let answer = self.admin.ask(&format!("/v1/rollouts/{ROLLOUT}"), FetchOptions::within(PAGE_PATIENCE)).await;
        let Some(page) = answer.ok().filter(|answer| answer.status.is_success()).and_then(|answer| answer.json())
        else {
            return news;
        };
        let look = StagedLook::read(&page);
        let [approval, repair] = match self.keys {
            Some(_) => {
                let approval = format!("a approves as you; or in a second terminal: {}", staged_tour::approve());
                [approval, "o ends the fault, r resumes".to_owned()]
            }
            None => {
                ["the demo approves by itself".to_owned(), "the demo ends the fault and resumes by itself".to_owned()]
            }
        };
        news.extend(look.news(&self.look, &self.switch, [&approval, &repair]));
        if look.row.phase != self.look.row.phase {
            window.begin_anew(|last| {
                last.rolled_back = look.is_rolled_back();
                last.killed = look.row.phase == "killed";
            });
        }
        self.look = look;
        news.extend(self.follow_script().await);
        news
    }

    /// The fault, when it is another than at the last look.
    fn fault_news(&mut self) -> Option<String> {
        let now = self.switch.fault();
        (std::mem::replace(&mut self.fault, now) != now).then(|| {
            match now {
                DemoFault::Off => "canary's fault: off",
                DemoFault::Errors => "canary's fault: errors: the canary answers 500",
                DemoFault::Slow => {
                    "canary's fault: slow: the canary takes 400 ms for each answer\n  \
                     its guard begins a minute after the release"
                }
            }
            .to_owned()
        })
    }

    /// Does what the script does now.
    async fn follow_script(&mut self) -> Vec<String> {
        let now = Clock.monotonic();
        let Some((script, ended)) = &mut self.script else { return Vec::new() };
        let awaited = script.awaited();
        let Some(act) = script.next(&self.look, now) else { return Vec::new() };
        match act {
            ScriptAct::Fail => {
                self.switch.set(DemoFault::Errors);
                self.fault_news().into_iter().collect()
            }
            ScriptAct::Repair => {
                self.switch.set(DemoFault::Off);
                let mut news: Vec<String> = self.fault_news().into_iter().collect();
                news.extend(staged_hand::perform(&self.admin, StagedAct::Resume, SCRIPT).await);
                news
            }
            ScriptAct::Approve => {
                staged_hand::perform(&self.admin, StagedAct::Approve, SCRIPT).await.into_iter().collect()
            }
            ScriptAct::End(end) => {
                // Without a receiver, the demo has ended already.
                let _ = ended.send(end);
                quit();
                match end {
                    ScriptEnd::Complete => vec![format!("{ROLLOUT} went through all its stages: the demo ends")],
                    ScriptEnd::Stuck => {
                        let (state, says) = (&self.look.row.state, &self.look.row.says);
                        vec![format!("the demo gives up: {awaited} does not come; {ROLLOUT} is {state}: {says}")]
                    }
                }
            }
        }
    }

    async fn handle_key(&mut self, key: DemoKey) -> Vec<String> {
        let reason = |key: &str| format!("key {key} of the demo");
        let done = match key {
            DemoKey::Approve => staged_hand::perform(&self.admin, StagedAct::Approve, &reason("a")).await,
            DemoKey::Resume if self.look.row.phase == "complete" => {
                staged_hand::perform(&self.admin, StagedAct::Restart, &reason("r")).await
            }
            DemoKey::Resume => staged_hand::perform(&self.admin, StagedAct::Resume, &reason("r")).await,
            DemoKey::RollBack => staged_hand::perform(&self.admin, StagedAct::RollBack, &reason("b")).await,
            DemoKey::Kill if self.look.row.phase == "killed" => {
                Some(staged_hand::press(&self.admin, BrakeAct::Revive).await)
            }
            DemoKey::Kill => Some(staged_hand::press(&self.admin, BrakeAct::Kill).await),
            DemoKey::Errors => {
                self.switch.press(DemoFault::Errors);
                None
            }
            DemoKey::Slow => {
                self.switch.press(DemoFault::Slow);
                None
            }
            DemoKey::Off => {
                self.switch.set(DemoFault::Off);
                None
            }
            DemoKey::Dashboard => Some(self.door.news().await),
            DemoKey::Help => Some(STAGED_KEYS.to_owned()),
            DemoKey::Quit => {
                quit();
                None
            }
            DemoKey::Edit(_) | DemoKey::Unknown => Some(format!("this key does nothing; {STAGED_KEYS}")),
        };
        self.fault_news().into_iter().chain(done).collect()
    }

    fn screen(&self, window: &ReadingWindow) -> StagedScreen {
        let figures = match window.live(self.fault) {
            Live::Figures(figures) => Some(figures),
            Live::None | Live::Measuring | Live::Stages(_) => None,
        };
        let next_in = self.look.next.map(|next| next.saturating_sub(Clock.wall()));
        StagedScreen { row: self.look.row.clone(), next_in, figures, fault: self.fault }
    }
}

/// Stops the demo, as Ctrl-C does.
fn quit() {
    // A process may always send itself a signal.
    let _ = kill_process(getpid(), Signal::INT);
}
