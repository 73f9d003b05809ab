//! The metrics of TLS with clients.

use super::scrape::Scrape;
use crate::telemetry::family::{FamilySink, MetricKind};
use crate::telemetry::{Counter, HandshakeFailure};

pub(super) fn expose(out: &mut impl FamilySink, scrape: &Scrape<'_>) {
    let sum = |of: &dyn Fn(&crate::telemetry::TlsMeter) -> &Counter| -> u64 {
        scrape.registry.worker.used().map(|meter| of(&meter.tls).value()).sum()
    };
    out.family(
        "pointsman_tls_handshakes_total",
        MetricKind::Counter,
        "TLS handshakes with clients, by kind and version.",
    );
    for (at, version) in ["1.2", "1.3"].into_iter().enumerate() {
        for (kind, name) in ["full", "resumed"].into_iter().enumerate() {
            out.sample(&[("kind", name), ("version", version)], sum(&|meter| &meter.handshakes[at][kind]));
        }
    }
    out.family(
        "pointsman_tls_handshake_failures_total",
        MetricKind::Counter,
        "TLS handshakes with clients that failed.",
    );
    for failure in HandshakeFailure::ALL {
        out.sample(&[("reason", failure.name())], sum(&|meter| &meter.failures[failure as usize]));
    }
    out.family(
        "pointsman_tls_certificate_expiry_seconds",
        MetricKind::Gauge,
        "Time until a certificate expires; negative when it has expired.",
    );
    for one in &scrape.certificates {
        out.sample(&[("listener", &one.listener), ("name", &one.name)], one.seconds_left);
    }
    out.family(
        "pointsman_tls_certificate_stale",
        MetricKind::Gauge,
        "1 when an old certificate is served because its new file is invalid.",
    );
    for one in &scrape.certificates {
        out.sample(&[("listener", &one.listener), ("name", &one.name)], one.stale);
    }
}
