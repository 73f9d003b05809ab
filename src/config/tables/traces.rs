//! `[traces]`: the export of spans.

use http::HeaderName;
use http::header::{CONTENT_TYPE, HOST};

use super::client_tls::{Owner, SystemRoots, TRACES_TLS};
use super::{action, client_tls};
use crate::config::toml::collector::{CollectorUrl, parse};
use crate::config::toml::context::Context;
use crate::config::toml::diagnostic::Finding;
use crate::config::toml::reader::Reader;
use crate::config::toml::source::Span;
use crate::config::toml::spanned_string::SpannedString;
use crate::config::toml::spec::{Shape, TableSpec, default, optional, required};
use crate::config::toml::value;
use crate::route::{ClientTls, OtlpProtocol, TraceExport};
use crate::tls;

/// `[traces]`.
pub(in crate::config) const TRACES: TableSpec = TableSpec {
    title: "[traces]",
    doc: "Export of spans of requests and attempts to an OpenTelemetry collector.",
    keys: &[
        required(
            "otlp",
            Shape::Text,
            "URL of the collector, such as `http://127.0.0.1:4318` or `https://host` (port 443); gRPC usually has port 4317.",
        ),
        optional(
            "tls",
            Shape::Table(&TRACES_TLS),
            "How an `https://` collector is verified, and which client certificate it gets.",
        ),
        default(
            "protocol",
            Shape::Words(&["http", "grpc"]),
            "\"http\"",
            "Protocol of the export: `http` (Protobuf) or `grpc`.",
        ),
        default(
            "sample",
            Shape::Number(0, 1),
            "1.0",
            "Share of requests that are sampled, from 0 to 1, unless a trusted peer has decided it.",
        ),
        default("service", Shape::Text, "\"pointsman\"", "Value of the resource attribute `service.name`."),
        default("attributes", Shape::Map(&Shape::Text), "{}", "Further attributes of the resource."),
        default("headers", Shape::Map(&Shape::Text), "{}", "Headers of each export request, such as `authorization`."),
    ],
    later: &[],
};

/// Compiles `[traces]`; `None` without the table.
pub(in crate::config) fn traces(
    context: &mut Context<'_>,
    reader: Option<&Reader<'_>>,
    system: &mut SystemRoots,
) -> Option<TraceExport> {
    let reader = reader?;
    let otlp = reader.require(context, "otlp").and_then(|item| item.shown_text(context));
    let place = otlp.and_then(|text| collector(context, &text));
    let tls = collector_tls(context, place.as_ref(), reader, system);
    let protocol = if reader.word(context, "protocol") == Some(1) { OtlpProtocol::Grpc } else { OtlpProtocol::Http };
    let sample = value::share(context, reader, "sample").unwrap_or(1.0);
    let service = reader.text(context, "service").map_or_else(|| "pointsman".to_owned(), |text| text.to_string());
    let mut attributes = Vec::new();
    for named in reader.get("attributes").map(|item| item.map(context)).unwrap_or_default() {
        let text = named.item.text(context);
        if named.name == "service.name" {
            let finding = Finding::error("duplicate-key", named.span, "`service.name` has a key of its own");
            context.report(finding.help("write it as `service`"));
        }
        attributes.extend(text.map(|text| (named.name.to_owned(), text.to_string())));
    }
    let mut headers = Vec::new();
    for named in reader.get("headers").map(|item| item.map(context)).unwrap_or_default() {
        let name = header(context, named.name, named.span);
        let text = named.item.text(context).and_then(|text| value::header_value(context, &text));
        headers.extend(name.zip(text).map(|(name, mut text)| {
            text.set_sensitive(true);
            (name, text)
        }));
    }
    reader.finish(context);
    let CollectorUrl { host, port, path, .. } = place?;
    Some(TraceExport { host, port, path, tls, protocol, sample, service, attributes, headers })
}

/// The TLS configuration for an `https://` collector.
fn collector_tls(
    context: &mut Context<'_>,
    place: Option<&CollectorUrl>,
    reader: &Reader<'_>,
    system: &mut SystemRoots,
) -> Option<ClientTls> {
    let (owner, is_given) = (Owner::traces(reader), reader.get("tls").is_some());
    let place = place?;
    if place.secured {
        let tls = client_tls::tls(context, &owner, system)?;
        if tls.server_name.is_none() && !tls::is_server_name(&place.host) {
            let message = format!("no certificate can have the name `{}`", place.host);
            let finding = Finding::error("bad-collector", reader.place("otlp"), message);
            context.report(finding.help("write a host name or an IP address, or `server_name` in `[traces.tls]`"));
        }
        return Some(tls);
    }
    if is_given {
        client_tls::refuse_useless(context, &owner, "has no `https://` collector", "write `https://host` in `otlp`");
    }
    None
}

/// The name of an additional header of export requests.
fn header(context: &mut Context<'_>, name: &str, at: Span) -> Option<HeaderName> {
    let name = action::own_header(context, name, at)?;
    if name == HOST || name == CONTENT_TYPE {
        context.report(Finding::error(
            "bad-header",
            at,
            format!("`{name}` is set by the export and cannot be changed"),
        ));
        return None;
    }
    Some(name)
}

fn collector(context: &mut Context<'_>, text: &SpannedString<'_>) -> Option<CollectorUrl> {
    match parse(text) {
        Ok(place) => Some(place),
        Err((message, help)) => {
            let finding = Finding::error("bad-collector", text.span, format!("`{}` {message}", &**text));
            context.report(finding.help(help));
            None
        }
    }
}
