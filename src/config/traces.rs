//! `[traces]`.

use http::HeaderName;
use http::header::{CONTENT_TYPE, HOST};
use http::uri::{Scheme, Uri};

use super::action;
use super::context::Context;
use super::diagnostic::Finding;
use super::reader::{Reader, Text};
use super::source::Span;
use super::spec::{Form, Spec, default, required};
use super::value;
use crate::route::{OtlpProtocol, TraceExport};

/// `[traces]`.
pub(super) const TRACES: Spec = Spec {
    title: "[traces]",
    doc: "Spans of requests and attempts, for an OpenTelemetry collector.",
    keys: &[
        required("otlp", Form::Text, "The collector: `http://127.0.0.1:4318`; with gRPC usually port 4317."),
        default("protocol", Form::Words(&["http", "grpc"]), "\"http\"", "`http` (Protobuf) or `grpc`."),
        default("sample", Form::Number(0, 1), "1.0", "The share of requests that begin a trace here and are sampled."),
        default("service", Form::Text, "\"pointsman\"", "`service.name` of the resource."),
        default("attributes", Form::Map(&Form::Text), "{}", "Further attributes of the resource."),
        default("headers", Form::Map(&Form::Text), "{}", "Headers of each export, such as `authorization`."),
    ],
    later: &[],
};

/// Compiles `[traces]`; nothing when there is none.
pub(super) fn traces(context: &mut Context<'_>, reader: Option<&Reader<'_>>) -> Option<TraceExport> {
    let reader = reader?;
    let otlp = reader.need(context, "otlp").and_then(|item| item.text(context));
    let place = otlp.and_then(|text| collector(context, &text));
    let protocol = if reader.word(context, "protocol") == Some(1) { OtlpProtocol::Grpc } else { OtlpProtocol::Http };
    let mut sample = 1.0;
    if let Some(item) = reader.get("sample") {
        match item.digits().map(|digits| digits.parse::<f64>().unwrap_or(f64::NAN)) {
            Some(number) if (0.0..=1.0).contains(&number) => sample = number,
            Some(_) => item.refuse(context, "out-of-range", "`sample` must be 0 to 1"),
            None => item.mismatch(context, "a number from 0 to 1"),
        }
    }
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
    let (host, port, path) = place?;
    Some(TraceExport { host, port, path, protocol, sample, service, attributes, headers })
}

/// The name of a header that an export may have besides its own.
fn header(context: &mut Context<'_>, name: &str, at: Span) -> Option<HeaderName> {
    let name = action::own_header(context, name, at)?;
    if name == HOST || name == CONTENT_TYPE {
        context.report(Finding::error("bad-header", at, format!("`{name}` is what the export says it is")));
        return None;
    }
    Some(name)
}

/// What to write instead.
const EXAMPLE: &str = "write `http://127.0.0.1:4318`, or a path after it";

/// Host, port and path of the collector's URL.
fn collector(context: &mut Context<'_>, text: &Text<'_>) -> Option<(String, u16, String)> {
    let refuse = |context: &mut Context<'_>, message: &str, help: &str| {
        context.report(Finding::error("bad-collector", text.span, format!("`{}` {message}", &**text)).help(help));
        None
    };
    let Ok(uri) = text.parse::<Uri>() else { return refuse(context, "is not a URL", EXAMPLE) };
    if uri.scheme() == Some(&Scheme::HTTPS) {
        let help = "send to a collector on this machine or in this network by `http://`; it can go on over TLS";
        return refuse(context, "asks for TLS, which exports do not speak", help);
    }
    let (Some(authority), Some(port), true) = (uri.authority(), uri.port_u16(), uri.scheme() == Some(&Scheme::HTTP))
    else {
        return refuse(context, "does not say where the collector is", EXAMPLE);
    };
    if authority.as_str().contains('@') || uri.query().is_some() {
        return refuse(context, "holds more than host, port and path", "credentials belong into `headers`");
    }
    let host = authority.host().trim_matches(['[', ']']).to_owned();
    Some((host, port, uri.path().trim_end_matches('/').to_owned()))
}
