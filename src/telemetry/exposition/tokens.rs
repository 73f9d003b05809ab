//! The metrics of tokens that tell who callers are.

use super::Scrape;
use crate::route::TokenFault;
use crate::telemetry::text::{Kind, Text};

pub(super) fn expose(text: &mut Text, scrape: &Scrape<'_>) {
    let used = || scrape.registry.worker.used();
    text.family("pointsman_jwt_verified_total", Kind::Counter, "Tokens that were believed.");
    text.sample("", &[], used().map(|meter| meter.jwt_verified.value()).sum::<u64>());
    text.family("pointsman_jwt_rejected_total", Kind::Counter, "Tokens that were not, so that they name nobody.");
    for fault in TokenFault::ALL {
        let count: u64 = used().map(|meter| meter.jwt_rejected[fault as usize].value()).sum();
        text.sample("", &[("reason", fault.name())], count);
    }
}
