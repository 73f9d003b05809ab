//! Shutdown: readiness fails, an optional delay passes, the workers drain, and at the deadline the remaining
//! connections are closed.

use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use crate::control::event::{Event, ProcessEvent};
use crate::drain::Phase;

/// How long workers may take to end after the deadline.
const GRACE: Duration = Duration::from_secs(2);

/// How the proxy stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// Every request was answered.
    Drained,
    /// The deadline passed and the remaining connections were closed.
    Forced,
    /// It stopped without a drain: a second signal, or the app was dropped.
    AtOnce,
}

/// The progress and the time limits of a shutdown.
#[derive(Debug)]
pub struct Shutdown {
    delay: Duration,
    deadline: Duration,
    phase: Phase,
    began: Option<Instant>,
    /// Started by a hand-over; no termination signal has arrived yet.
    by_hand_over: bool,
}

impl Shutdown {
    /// A shutdown that has not started. `delay` is the time between failing readiness and the drain, `deadline` the
    /// time limit of the drain.
    #[must_use]
    pub const fn new(delay: Duration, deadline: Duration) -> Self {
        Self { delay, deadline, phase: Phase::Running, began: None, by_hand_over: false }
    }

    /// The current phase.
    #[must_use]
    pub const fn phase(&self) -> Phase {
        self.phase
    }

    /// Starts: phase `Lame` now, `Draining` after the delay.
    pub fn begin(&mut self, now: Instant, events: &mpsc::Sender<Event>) {
        self.phase = Phase::Lame;
        self.began = Some(now);
        let delay_ms = u64::try_from(self.delay.as_millis()).unwrap_or(u64::MAX);
        tracing::info!(delay_ms, deadline_s = self.deadline.as_secs(), "stopping");
        after(self.delay, Phase::Draining, events);
    }

    /// Starts after a hand-over, without the delay: the new process serves already.
    pub fn begin_after_hand_over(&mut self, now: Instant, events: &mpsc::Sender<Event>) {
        self.delay = Duration::ZERO;
        self.by_hand_over = true;
        self.begin(now, events);
    }

    /// Whether a termination signal is the second one. When systemd stops the whole service, the process that
    /// has handed over gets its first signal.
    pub fn is_second_signal(&mut self) -> bool {
        let first = self.phase == Phase::Running || std::mem::take(&mut self.by_hand_over);
        !first
    }

    /// Enters a phase, and schedules the next one.
    pub fn reach(&mut self, phase: Phase, events: &mpsc::Sender<Event>) {
        self.phase = self.phase.max(phase);
        match phase {
            Phase::Draining => {
                tracing::info!(deadline_s = self.deadline.as_secs(), "draining: no new connections are accepted");
                after(self.deadline, Phase::Forced, events);
            }
            Phase::Forced => {
                tracing::warn!("drain deadline passed: closing the remaining connections");
                after(GRACE, Phase::Forced, events);
            }
            Phase::Running | Phase::Lame => {}
        }
    }

    /// Logs the end: `cut` connections were closed at the deadline, among them `upgrades` upgraded ones.
    pub fn log_end(&self, now: Instant, cut: u64, upgrades: u64) {
        let Some(began) = self.began else { return };
        let took_ms = u64::try_from(now.saturating_duration_since(began).as_millis()).unwrap_or(u64::MAX);
        if cut == 0 {
            tracing::info!(took_ms, "stopped: every open request was answered");
        } else {
            tracing::warn!(took_ms, cut, upgrades, "stopped: connections with open requests were cut");
        }
    }

    /// How it ended.
    #[must_use]
    pub fn finished(&self) -> Stopped {
        if self.phase == Phase::Forced { Stopped::Forced } else { Stopped::Drained }
    }
}

fn after(wait: Duration, phase: Phase, events: &mpsc::Sender<Event>) {
    let events = events.clone();
    tokio::spawn(async move {
        tokio::time::sleep(wait).await;
        // Sending fails when the controller has ended.
        let _ = events.send(Event::Process(ProcessEvent::Due(phase))).await;
    });
}
