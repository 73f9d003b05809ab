//! Housekeeping: checks that the controller makes every second.

use super::systemd::ServiceState;
use crate::control::controller::Controller;
use crate::control::outcome::ReloadCause;
use crate::control::route_traffic::ReadMoment;
use crate::drain::Phase;
use crate::telemetry;

impl Controller {
    /// Runs the checks; `ended` worker threads have ended.
    pub(in crate::control) fn run_housekeeping(&mut self, ended: usize) {
        self.retired.drop_unused();
        self.reread_certificates();
        self.retry_journal();
        self.read_traffic();
        self.end_stale_conditions();
        self.keep_notifications();
        if self.succession.predecessor.is_none() {
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
