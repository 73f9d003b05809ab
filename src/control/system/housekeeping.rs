//! Housekeeping: checks that the controller makes every second, and more seldom while all workers rest.

use super::systemd::ServiceState;
use crate::control::controller::Controller;
use crate::control::outcome::ReloadCause;
use crate::control::route_traffic::ReadMoment;
use crate::drain::Phase;
use crate::telemetry;

/// How often the checks run, in milliseconds, while all workers rest.
pub(in crate::control) const REST_EVERY_MS: u64 = 4_000;
/// How often the socket of the admin listener is checked then.
const REST_CHECK_MS: u64 = 3 * REST_EVERY_MS;

impl Controller {
    /// Runs the checks; `ended` worker threads have ended.
    pub(in crate::control) fn run_housekeeping(&mut self, ended: usize) {
        self.retired.drop_unused();
        self.reread_certificates();
        self.retry_journal();
        self.read_traffic();
        self.end_stale_conditions();
        self.keep_notifications();
        let is_at_rest = self.state.counts.registry.is_at_rest();
        if is_at_rest {
            // The ticks for it may have stopped.
            self.begin_probes();
        }
        // A check takes two more wake-ups: at rest, it is made in every third run.
        let is_check_due = !is_at_rest || self.state.uptime_ms() % REST_CHECK_MS < REST_EVERY_MS;
        if self.succession.predecessor.is_none() && is_check_due {
            self.admin.check_socket();
        }
        telemetry::control::set_log_lines_lost(&self.state.counts.recorder, self.log.lines_lost());
        {
            let mut data = self.state.lock();
            if ended > data.workers_lost && self.shutdown.phase() < Phase::Draining {
                tracing::error!(ended, "worker ended: restart the process");
            }
            data.workers_lost = ended;
        }
        let stuck = self.state.stuck_worker();
        match stuck {
            Some((worker, age)) if !self.worker_stuck => {
                telemetry::control::count_worker_stall(&self.state.counts.recorder);
                tracing::error!(worker, silence_s = age.as_secs(), "worker stuck");
            }
            None if self.worker_stuck => tracing::info!("workers run again"),
            Some(_) | None => {}
        }
        self.worker_stuck = stuck.is_some();
        if self.state.healthy().is_ok() && self.notify.watchdog().is_some() {
            self.notify.send(ServiceState::Watchdog, None);
        }
    }

    /// Reads the traffic of the routes of rollouts.
    fn read_traffic(&mut self) {
        let moment = ReadMoment { now_ms: self.state.uptime_ms(), wall: self.state.clock.wall() };
        if let Some(traffic) = self.release.traffic.follow(&self.store.load(), moment) {
            self.state.release.set_traffic(traffic);
        }
    }

    /// Reloads the files when a certificate that was not valid yet has become valid.
    fn reread_certificates(&mut self) {
        let due = self.store.load().listeners.iter().filter_map(|one| one.tls.as_ref()?.next_retry_at()).min();
        if due.is_none_or(|due| due > self.state.clock.wall()) {
            self.reread_for = None;
        } else if self.reread_for != due {
            // Only once: when the files are invalid, the next change of them reloads.
            self.reread_for = due;
            self.reload(ReloadCause::Watch, None);
        }
    }
}
