//! Rounds: what the controller looks after every second, whatever happens or does not happen.

use super::notify::State;
use crate::control::controller::Controller;
use crate::control::outcome::Cause;
use crate::drain::Phase;
use crate::telemetry;

impl Controller {
    /// `ended` workers have ended.
    pub(in crate::control) fn watchdog(&mut self, ended: usize) {
        self.retired.bury();
        self.revisit();
        telemetry::control::log_lines_lost(&self.ledger.counts.recorder, self.log.lines_lost());
        {
            let mut pages = self.ledger.pages();
            if ended > pages.workers_lost && self.stopping.phase() < Phase::Draining {
                tracing::error!(ended, "worker ended: restart the process");
            }
            pages.workers_lost = ended;
        }
        let stuck = self.ledger.stuck();
        match stuck {
            Some((worker, silence)) if !self.stuck => {
                telemetry::control::worker_stalled(&self.ledger.counts.recorder);
                tracing::error!(worker, silence_s = silence.as_secs(), "worker stuck");
            }
            None if self.stuck => tracing::info!("workers run again"),
            Some(_) | None => {}
        }
        self.stuck = stuck.is_some();
        if self.ledger.healthy().is_ok() && self.notify.watchdog().is_some() {
            self.notify.tell(State::Watchdog, None);
        }
    }

    /// Reads the files again when a certificate that was put aside, since it was not valid yet, has become valid.
    fn revisit(&mut self) {
        let due = self.store.load().listeners.iter().filter_map(|one| one.tls.as_ref()?.next_retry_at()).min();
        if due.is_none_or(|due| due > self.ledger.clock.wall()) {
            self.revisited = None;
        } else if self.revisited != due {
            // Once: when the files do not hold, they are read again as they change.
            self.revisited = due;
            self.reload(Cause::Watch, None);
        }
    }
}
