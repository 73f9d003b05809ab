//! Shutdown: readiness fails, an optional delay passes, the workers drain, and at the deadline the rest is cut.

use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use crate::control::event::{Event, ProcessEvent};
use crate::drain::Phase;

/// What workers get to end after the deadline.
const GRACE: Duration = Duration::from_secs(2);

/// How the proxy stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// Every request was answered.
    Drained,
    /// The deadline passed and what was left was cut.
    Forced,
    /// It was told to end at once (a second signal).
    AtOnce,
}

/// How far a stop has come, and what it may take.
#[derive(Debug)]
pub struct Shutdown {
    delay: Duration,
    deadline: Duration,
    phase: Phase,
    began: Option<Instant>,
    /// Another process serves; nobody has sent a signal to end yet.
    unasked: bool,
}

impl Shutdown {
    /// Not begun. `delay` is from the failing readiness to the drain, `deadline` from there to the cut.
    #[must_use]
    pub const fn new(delay: Duration, deadline: Duration) -> Self {
        Self { delay, deadline, phase: Phase::Running, began: None, unasked: false }
    }

    /// How far it has come.
    #[must_use]
    pub const fn phase(&self) -> Phase {
        self.phase
    }

    /// Begins: lame now, draining after the delay.
    pub fn begin(&mut self, now: Instant, events: &mpsc::Sender<Event>) {
        self.phase = Phase::Lame;
        self.began = Some(now);
        let delay_ms = u64::try_from(self.delay.as_millis()).unwrap_or(u64::MAX);
        tracing::info!(delay_ms, deadline_s = self.deadline.as_secs(), "stopping");
        after(self.delay, Phase::Draining, events);
    }

    /// Begins because another process serves now: nobody has to notice first.
    pub fn begin_after_hand_over(&mut self, now: Instant, events: &mpsc::Sender<Event>) {
        self.delay = Duration::ZERO;
        self.unasked = true;
        self.begin(now, events);
    }

    /// Whether a signal to end is one more than what is heeded already. A stop of the whole service reaches also the
    /// process that has handed over, and is its first.
    pub fn is_second_signal(&mut self) -> bool {
        let first = self.phase == Phase::Running || std::mem::take(&mut self.unasked);
        !first
    }

    /// Reaches a phase, and sees to the next one.
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

    /// Says how it ended; `cut` connections were not waited for any longer, with so many upgraded ones or streams.
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
        // Nobody listens any more when the stop has ended before.
        let _ = events.send(Event::Process(ProcessEvent::Due(phase))).await;
    });
}
