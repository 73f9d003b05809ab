//! `[prometheus]`: where gates and guards of rollouts ask their queries.

use super::client_tls::{Owner, PROMETHEUS_TLS, SystemRoots};
use super::http_target::{self, HEADERS, TIMEOUT_KEY};
use crate::config::toml::context::Context;
use crate::config::toml::reader::Reader;
use crate::config::toml::spec::{Shape, TableSpec, optional, required};
use crate::route::HttpTarget;

/// `[prometheus]`.
pub(in crate::config) const PROMETHEUS: TableSpec = TableSpec {
    title: "[prometheus]",
    doc: "Prometheus, which gates and guards of rollouts ask.",
    keys: &[
        required("url", Shape::Text, "URL, such as `http://prometheus:9090`; a path before `/api/v1` may follow."),
        optional("tls", Shape::Table(&PROMETHEUS_TLS), "How an `https://` URL is verified."),
        HEADERS,
        TIMEOUT_KEY,
    ],
    later: &[],
};

/// Compiles `[prometheus]`; `None` without the table.
pub(in crate::config) fn prometheus(
    context: &mut Context<'_>,
    reader: Option<&Reader<'_>>,
    system: &mut SystemRoots,
) -> Option<HttpTarget> {
    let reader = reader?;
    let found = http_target::target(context, &Owner::prometheus(reader), system);
    reader.finish(context);
    found.map(|found| found.target)
}
