//! The demo's certificate: made in memory at each start, and gone with the process.

use std::sync::Arc;

use anyhow::Context;

use crate::app::Environment;

/// The names of the variables by which the demo's file takes it.
pub(super) const VARIABLES: [&str; 2] = ["POINTSMAN_DEMO_CERTIFICATE", "POINTSMAN_DEMO_KEY"];

/// The process's environment, and in it a certificate of its own for this machine's names with its key.
pub(super) fn environment() -> anyhow::Result<Environment> {
    let names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
    let made = rcgen::generate_simple_self_signed(names).context("cannot make a certificate")?;
    let [certificate, key] = [made.cert.pem(), made.signing_key.serialize_pem()];
    Ok(Arc::new(move |name| match VARIABLES.iter().position(|variable| *variable == name) {
        Some(0) => Some(certificate.clone()),
        Some(_) => Some(key.clone()),
        None => std::env::var(name).ok(),
    }))
}
