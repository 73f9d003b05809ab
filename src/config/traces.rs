//! `[traces]`.

use http::HeaderName;
use http::header::{CONTENT_TYPE, HOST};
use http::uri::{Scheme, Uri};

use super::action;
use super::client_tls::{self, Owner, SystemRoots, TRACES_TLS};
use super::context::Context;
use super::diagnostic::Finding;
use super::reader::{Reader, Text};
use super::source::Span;
use super::spec::{Form, Spec, default, optional, required};
use super::value;
use crate::route::{ClientTls, OtlpProtocol, TraceExport};
use crate::tls;

/// Where `https://` goes when it names no port.
const HTTPS_PORT: u16 = 443;

/// `[traces]`.
pub(super) const TRACES: Spec = Spec {
    title: "[traces]",
    doc: "Spans of requests and attempts, for an OpenTelemetry collector.",
    keys: &[
        required(
            "otlp",
            Form::Text,
            "The collector: `http://127.0.0.1:4318` or `https://host` (port 443); with gRPC usually port 4317.",
        ),
        optional(
            "tls",
            Form::Table(&TRACES_TLS),
            "How an `https://` collector is verified, and what is presented to it.",
        ),
        default("protocol", Form::Words(&["http", "grpc"]), "\"http\"", "`http` (Protobuf) or `grpc`."),
        default("sample", Form::Number(0, 1), "1.0", "The share of requests that begin a trace here and are sampled."),
        default("service", Form::Text, "\"pointsman\"", "`service.name` of the resource."),
        default("attributes", Form::Map(&Form::Text), "{}", "Further attributes of the resource."),
        default("headers", Form::Map(&Form::Text), "{}", "Headers of each export, such as `authorization`."),
    ],
    later: &[],
};

/// Compiles `[traces]`; nothing when there is none.
pub(super) fn traces(
    context: &mut Context<'_>,
    reader: Option<&Reader<'_>>,
    system: &mut SystemRoots,
) -> Option<TraceExport> {
    let reader = reader?;
    let otlp = reader.need(context, "otlp").and_then(|item| item.place_text(context));
    let place = otlp.and_then(|text| collector(context, &text));
    let tls = secured(context, place.as_ref(), reader, system);
    let protocol = if reader.word(context, "protocol") == Some(1) { OtlpProtocol::Grpc } else { OtlpProtocol::Http };
    let mut sample = 1.0;
    if let Some(item) = reader.get("sample") {
        match item.digits().map(|digits| digits.parse::<f64>().unwrap_or(f64::NAN)) {
            Some(number) if (0.0..=1.0).contains(&number) => sample = number,
            Some(_) => item.refuse(context, "out-of-range", "`sample` must be 0 to 1"),
            None => item.mismatch_number(context, "a number from 0 to 1", value::is_share),
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
    let Place { host, port, path, .. } = place?;
    Some(TraceExport { host, port, path, tls, protocol, sample, service, attributes, headers })
}

/// How the collector is verified, when it is spoken to by TLS.
fn secured(
    context: &mut Context<'_>,
    place: Option<&Place>,
    reader: &Reader<'_>,
    system: &mut SystemRoots,
) -> Option<ClientTls> {
    let (owner, is_given) = (Owner::traces(reader), reader.get("tls").is_some());
    let place = place?;
    if place.secured {
        let tls = client_tls::tls(context, &owner, system)?;
        if tls.server_name.is_none() && !tls::is_server_name(&place.host) {
            let message = format!("no certificate can be for `{}`", place.host);
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
const EXAMPLE: &str = "write `http://127.0.0.1:4318` or `https://collector.example.com`, or a path after it";

/// Where the collector is: whether it is spoken to by TLS, its host, port and path.
struct Place {
    secured: bool,
    host: String,
    port: u16,
    path: String,
}

fn collector(context: &mut Context<'_>, text: &Text<'_>) -> Option<Place> {
    match parse(text) {
        Ok(place) => Some(place),
        Err((message, help)) => {
            let finding = Finding::error("bad-collector", text.span, format!("`{}` {message}", &**text));
            context.report(finding.help(help));
            None
        }
    }
}

/// Whether a text says where a collector is.
pub(super) fn is_collector(text: &str) -> bool {
    parse(text).is_ok()
}

/// What stands in a collector's URL; else what is wrong with it, and what to do.
fn parse(text: &str) -> Result<Place, (&'static str, &'static str)> {
    let uri = text.parse::<Uri>().map_err(|_| ("is not a URL", EXAMPLE))?;
    let secured = uri.scheme() == Some(&Scheme::HTTPS);
    let authority = uri.authority().filter(|_| secured || uri.scheme() == Some(&Scheme::HTTP));
    let authority = authority.ok_or(("does not say where the collector is", EXAMPLE))?;
    if authority.as_str().contains('@') || uri.query().is_some() {
        return Err(("holds more than host, port and path", "credentials belong into `headers`"));
    }
    let host = authority.host();
    let port = match authority.as_str().strip_prefix(host) {
        Some("") if secured => HTTPS_PORT,
        Some("") | None => return Err(("does not say at which port the collector is", EXAMPLE)),
        Some(port) => {
            let digits = port.strip_prefix(':').filter(|port| port.bytes().all(|byte| byte.is_ascii_digit()));
            let port = digits.and_then(|digits| digits.parse().ok()).filter(|port| *port > 0);
            port.ok_or(("names a port that there is not", super::address::PORTS))?
        }
    };
    let host = host.trim_matches(['[', ']']).to_owned();
    Ok(Place { secured, host, port, path: uri.path().trim_end_matches('/').to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn collectors() {
        let place = |text: &str| parse(text).map(|place| (place.secured, place.host, place.port, place.path));
        let check = |text: &str, (secured, host, port, path): (bool, &str, u16, &str)| {
            assert_eq!(place(text), Ok((secured, host.to_owned(), port, path.to_owned())), "{text}");
        };
        check("http://127.0.0.1:4318", (false, "127.0.0.1", 4318, ""));
        check("http://collector:4318/a/b/", (false, "collector", 4318, "/a/b"));
        check("http://[::1]:4318", (false, "::1", 4318, ""));
        check("https://otlp.example.com", (true, "otlp.example.com", 443, ""));
        check("https://[::1]", (true, "::1", 443, ""));
        check("https://otlp.example.com:4318/x", (true, "otlp.example.com", 4318, "/x"));
        for bad in [
            "",
            "collector",
            "collector:4318",
            "ftp://collector:21",
            "http://collector",
            "http://collector:0",
            "https://collector:0",
            "https://collector:",
            "https://collector:43l8",
            "https://collector:+43",
            "https://collector:65536",
            "https://me@collector",
            "https://collector?x=1",
            "https://",
        ] {
            assert!(place(bad).is_err(), "{bad}");
        }
    }
}
