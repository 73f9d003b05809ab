//! Every fault with everything that it means: `table.txt` is what clients, logs and figures see. `BLESS=1` writes it anew.

use std::fmt::Write as _;

use super::Fault;
use crate::telemetry::Refusal;

/// All faults but the refusals.
const OTHERS: [Fault; 19] = [
    Fault::ClientGone,
    Fault::NoEndpoint,
    Fault::AnswerMemory,
    Fault::UpstreamRequests,
    Fault::UpstreamConnections,
    Fault::ConnectRefused,
    Fault::ConnectTimeout,
    Fault::UpstreamReset,
    Fault::UpstreamProtocol,
    Fault::UpstreamHeaders,
    Fault::UpstreamSpeaksTls,
    Fault::NoUpgrade,
    Fault::TlsCertificate,
    Fault::TlsProtocol,
    Fault::TlsAlert,
    Fault::TlsTimeout,
    Fault::Killed,
    Fault::ResponseTimeout,
    Fault::CallTimeout,
];

fn all() -> impl Iterator<Item = Fault> {
    OTHERS.into_iter().chain(Refusal::ALL.into_iter().map(Fault::Refused))
}

#[test]
fn every_fault_means_what_it_meant() {
    let mut text = String::new();
    for fault in all() {
        let (status, error, detail) = (fault.status().as_u16(), fault.proxy_error(), fault.detail());
        let (ender, grpc) = (fault.ender(), fault.grpc_status().name());
        let failure = fault.failure().map_or("-".to_owned(), |failure| format!("{failure:?}"));
        let passes = if fault.passes() { "retry" } else { "-" };
        let distrusted = if fault.is_distrusted() { "close" } else { "-" };
        writeln!(
            text,
            "{detail} {status} {error} {ender:?} {grpc} {failure} {passes} {distrusted} {}",
            fault.sentence()
        )
        .unwrap();
    }
    if std::env::var_os("BLESS").is_some() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/src/proxy/fault/table.txt");
        std::fs::write(file, &text).unwrap();
        return;
    }
    assert_eq!(text, include_str!("table.txt"), "BLESS=1 writes it anew");
}
