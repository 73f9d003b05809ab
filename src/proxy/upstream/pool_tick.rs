//! What a worker does for the balance of an upstream at its ticks.

use super::pool::UpstreamPool;
use crate::balance::WorkerTraffic;
use crate::proxy::worker::Worker;
use crate::route::Balance;
use crate::telemetry::{Counter, UpstreamMeter};

impl UpstreamPool {
    /// The work of a tick.
    pub(super) fn tick(&self, worker: &Worker) {
        let mut suspects = self.suspects.borrow_mut();
        if !suspects.is_empty() || self.has_failed_endpoint.get() {
            suspects.retain(|at| self.endpoints[*at].is_suspect());
            let serves = |at: &usize| self.endpoints[*at].endpoint.health.is_in_rotation();
            self.has_failed_endpoint.set(suspects.iter().any(serves));
        }
        match self.upstream.balance {
            Balance::Hash => self.others_in_flight.set(self.others_in_flight(worker.index)),
            Balance::LeastRequest | Balance::PeakEwma if self.report.has_changed() => {
                let requests = |meter: &UpstreamMeter| meter.requests.iter().map(Counter::value).sum::<u64>();
                let signed = |meter: &UpstreamMeter| requests(meter).cast_signed();
                let (own, all) = (requests(self.meter(worker.index)), self.sum(signed).cast_unsigned());
                self.mirror.tick(WorkerTraffic { own, others: all.saturating_sub(own) });
            }
            Balance::LeastRequest | Balance::PeakEwma | Balance::RoundRobin => {}
        }
        self.report.tick(worker.process_ms());
    }

    /// The requests in flight of the other workers, without those of all workers at endpoints out of rotation: they are
    /// no part of what the others share.
    fn others_in_flight(&self, worker: usize) -> i64 {
        let outside = |at: &u32| {
            let pool = &self.endpoints[*at as usize];
            if self.other_workers > 0 { pool.endpoint.health.reported_load() } else { pool.load.in_flight().into() }
        };
        let outside: i64 = self.balancer.rotation.borrow().outside.iter().map(outside).sum();
        self.sum(|meter| meter.in_flight.value()) - self.meter(worker).in_flight.value() - outside
    }
}
