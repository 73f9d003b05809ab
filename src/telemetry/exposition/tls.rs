//! The metrics of TLS with clients.

use super::Scrape;
use crate::telemetry::text::{Kind, Text};
use crate::telemetry::{Counter, HandshakeFailure};

/// A certificate that a listener serves.
#[derive(Clone, Debug)]
pub struct Certificate {
    /// The listener.
    pub listener: String,
    /// Its first name.
    pub name: String,
    /// Seconds that it has left; negative when it has expired.
    pub seconds_left: i64,
    /// 1 when its file holds another one that is not good.
    pub stale: u8,
}

pub(super) fn expose(text: &mut Text, scrape: &Scrape<'_>) {
    let sum = |of: &dyn Fn(&crate::telemetry::TlsMeter) -> &Counter| -> u64 {
        scrape.registry.worker.used().map(|meter| of(&meter.tls).value()).sum()
    };
    text.family("pointsman_tls_handshakes_total", Kind::Counter, "TLS handshakes with clients, by kind and version.");
    for (at, version) in ["1.2", "1.3"].into_iter().enumerate() {
        for (kind, name) in ["full", "resumed"].into_iter().enumerate() {
            text.sample("", &[("kind", name), ("version", version)], sum(&|meter| &meter.handshakes[at][kind]));
        }
    }
    text.family("pointsman_tls_handshake_failures_total", Kind::Counter, "TLS handshakes with clients that failed.");
    for failure in HandshakeFailure::ALL {
        text.sample("", &[("reason", failure.name())], sum(&|meter| &meter.failures[failure as usize]));
    }
    text.family(
        "pointsman_tls_certificate_expiry_seconds",
        Kind::Gauge,
        "What a certificate has left; negative when it has expired.",
    );
    for one in &scrape.certificates {
        text.sample("", &[("listener", &one.listener), ("name", &one.name)], one.seconds_left);
    }
    text.family(
        "pointsman_tls_certificate_stale",
        Kind::Gauge,
        "1 when a certificate is served on because its new file does not hold.",
    );
    for one in &scrape.certificates {
        text.sample("", &[("listener", &one.listener), ("name", &one.name)], one.stale);
    }
}
