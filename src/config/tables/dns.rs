//! `[dns]`: how host names of endpoints are resolved.

use std::time::Duration;

use crate::config::toml::context::Context;
use crate::config::toml::reader::Reader;
use crate::config::toml::spec::{DURATION, Shape, TableSpec, default};
use crate::config::toml::value;
use crate::route::Dns;

/// The range of `max_ttl`.
const MAX_TTL: (Duration, Duration) = (Duration::from_secs(1), Duration::from_hours(1));
/// The highest `start_patience`.
const PATIENCE_MAX: Duration = Duration::from_mins(10);

/// `[dns]`.
pub(in crate::config) const DNS: TableSpec = TableSpec {
    title: "[dns]",
    doc: "How host names of endpoints are resolved.",
    keys: &[
        default(
            "max_ttl",
            Shape::Pattern(DURATION),
            "\"30s\"",
            "Longest time before a name is resolved again, 1s to 1h; shorter if the TTL of its DNS record is shorter.",
        ),
        default(
            "start_patience",
            Shape::Pattern(DURATION),
            "\"10s\"",
            "At start, how long `/readyz` waits for names that have no address yet, at most 10m.",
        ),
    ],
    later: &[],
};

/// Compiles `[dns]`.
pub(in crate::config) fn dns(context: &mut Context<'_>, reader: Option<&Reader<'_>>) -> Dns {
    let mut dns = Dns::default();
    let Some(reader) = reader else { return dns };
    if let Some(item) = reader.get("max_ttl") {
        match value::duration(context, &item) {
            Some(ttl) if ttl < MAX_TTL.0 || ttl > MAX_TTL.1 => {
                item.refuse(context, "out-of-range", "`max_ttl` must be 1s to 1h");
            }
            Some(ttl) => dns.max_ttl = ttl,
            None => {}
        }
    }
    if let Some(item) = reader.get("start_patience") {
        match value::duration(context, &item) {
            Some(patience) if patience > PATIENCE_MAX => {
                item.refuse(context, "out-of-range", "`start_patience` must be 0s to 10m");
            }
            Some(patience) => dns.start_patience = patience,
            None => {}
        }
    }
    reader.finish(context);
    dns
}
