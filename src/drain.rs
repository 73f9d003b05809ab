//! Draining: one signal to finish and stop, and guards that keep the drain waiting.

use tokio::sync::watch;

/// The phases of a stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Serving.
    Running,
    /// Readiness fails, connections are still accepted.
    Lame,
    /// No new connections; existing ones finish their requests.
    Draining,
    /// The deadline has passed: remaining connections are closed.
    Forced,
}

/// Starts and advances a drain. The controller is its only owner.
#[derive(Debug)]
pub struct Drain(watch::Sender<Phase>);

/// Follows the phases of a drain.
#[derive(Clone, Debug)]
pub struct DrainWatch(watch::Receiver<Phase>);

/// Held by work that has not finished; [`Drain::finished`] waits until the last guard is dropped.
#[derive(Clone, Debug)]
pub struct DrainGuard(#[expect(dead_code, reason = "held for its drop")] watch::Receiver<Phase>);

impl Default for Drain {
    fn default() -> Self {
        Self::new()
    }
}

impl Drain {
    /// A drain in phase [`Phase::Running`].
    #[must_use]
    pub fn new() -> Self {
        Self(watch::channel(Phase::Running).0)
    }

    /// Subscribes to the phases.
    #[must_use]
    pub fn subscribe(&self) -> DrainWatch {
        DrainWatch(self.0.subscribe())
    }

    /// Moves to `phase`; never backwards.
    pub fn advance(&self, phase: Phase) {
        self.0.send_if_modified(|now| {
            let moved = phase > *now;
            *now = phase.max(*now);
            moved
        });
    }

    /// The phase now.
    #[must_use]
    pub fn phase(&self) -> Phase {
        *self.0.borrow()
    }

    /// Resolves when every [`DrainWatch`] and [`DrainGuard`] is gone.
    pub async fn finished(&self) {
        self.0.closed().await;
    }
}

impl DrainWatch {
    /// The phase now.
    #[must_use]
    pub fn phase(&self) -> Phase {
        *self.0.borrow()
    }

    /// Resolves when `phase` or a later one is reached. Cancel safe.
    pub async fn reached(&mut self, phase: Phase) {
        // An error means that the `Drain` itself was dropped: the process no longer serves.
        let _ = self.0.wait_for(|now| *now >= phase).await;
    }

    /// A guard that keeps [`Drain::finished`] waiting.
    #[must_use]
    pub fn guard(&self) -> DrainGuard {
        DrainGuard(self.0.clone())
    }
}
