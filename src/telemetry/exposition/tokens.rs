//! The metrics of tokens that identify callers.

use super::scrape::Scrape;
use crate::route::TokenFault;
use crate::telemetry::family::{FamilySink, MetricKind};

pub(super) fn expose(out: &mut impl FamilySink, scrape: &Scrape<'_>) {
    let used = || scrape.registry.worker.used();
    out.family("pointsman_jwt_verified_total", MetricKind::Counter, "Verified tokens.");
    out.sample(&[], used().map(|meter| meter.jwt_verified.value()).sum::<u64>());
    out.family("pointsman_jwt_rejected_total", MetricKind::Counter, "Rejected tokens, by reason.");
    for fault in TokenFault::ALL {
        let count: u64 = used().map(|meter| meter.jwt_rejected[fault as usize].value()).sum();
        out.sample(&[("reason", fault.name())], count);
    }
}
