//! `[[listener]]` and `[access_log]`: where clients connect, and the access log.

use std::path::PathBuf;
use std::sync::Arc;

use ahash::HashMap;
use ipnet::IpNet;

use super::tls::TLS;
use super::{action, tls};
use crate::config::toml::address::{AddressUse, ListenAddresses, address};
use crate::config::toml::context::Context;
use crate::config::toml::diagnostic::Finding;
use crate::config::toml::reader::Reader;
use crate::config::toml::source::Span;
use crate::config::toml::spanned_string::SpannedString;
use crate::config::toml::spec::{DURATION, SIZE, Shape, TableSpec, default, optional, required};
use crate::config::toml::suggest::did_you_mean;
use crate::config::toml::value;
use crate::route::{AccessLog, EncodedSlash, Limits, ListenerSpec, LogFormat, LogSink, Redirect};
use crate::tls::Server;

const COUNT: Shape = Shape::Integer(1, 10_000_000);

/// `[[listener]]`.
pub(in crate::config) const LISTENER: TableSpec = TableSpec {
    title: "[[listener]]",
    doc: "A listener for HTTP/1.1 and HTTP/2, in cleartext (h2c with prior knowledge) or over TLS.",
    keys: &[
        optional("name", Shape::Text, "Name of the listener; default: its address."),
        required(
            "address",
            Shape::Text,
            "IP address and port to listen on, such as `0.0.0.0:8080`, `[::]:8080`, `:8080` or `localhost:8080`; port 0 lets the system choose.",
        ),
        optional("limits", Shape::Table(&LIMITS), "Limits per client and for the whole listener."),
        optional("tls", Shape::Table(&TLS), "TLS; without this table the listener serves cleartext."),
        optional("redirect", Shape::Table(&action::REDIRECT), "Redirects requests in cleartext to `https`."),
        optional("proxy_protocol", Shape::Table(&PROXY_PROTOCOL), "Load balancers that send a PROXY protocol header."),
    ],
    later: &[],
};

/// `[listener.proxy_protocol]`.
const PROXY_PROTOCOL: TableSpec = TableSpec {
    title: "[listener.proxy_protocol]",
    doc: "Load balancers that report the client address in a PROXY protocol header (version 1 or 2).",
    keys: &[required(
        "from",
        Shape::OneOrMore(&Shape::Text),
        "Networks whose connections must start with a PROXY protocol header; other peers must not send one.",
    )],
    later: &[],
};

/// `[listener.limits]`.
const LIMITS: TableSpec = TableSpec {
    title: "[listener.limits]",
    doc: "Limits of a listener. Each has a default and a metric.",
    keys: &[
        default("connections", COUNT, "20000", "Maximum number of open connections."),
        default(
            "connections_per_ip",
            COUNT,
            "1024",
            "Maximum number of open connections per client address; trusted proxies are exempt.",
        ),
        default(
            "connection_rate_per_ip",
            COUNT,
            "2000",
            "Maximum number of new connections per second and client address.",
        ),
        default(
            "header_bytes",
            Shape::Pattern(SIZE),
            "\"16KiB\"",
            "Maximum size of a request's header fields, 256B to 64KiB; larger requests get 431.",
        ),
        default(
            "headers",
            Shape::Integer(1, 10_000),
            "100",
            "Maximum number of header fields of a request; requests with more get 431.",
        ),
        default(
            "uri_bytes",
            Shape::Pattern(SIZE),
            "\"8KiB\"",
            "Maximum length of a request target, 256B to 64KiB; longer ones get 414.",
        ),
        default("requests", COUNT, "10000", "Maximum number of requests in flight; further requests get 503."),
        optional(
            "requests_per_ip",
            COUNT,
            "Maximum number of requests in flight per client address, while more than half of `requests` is in use; \
             further requests get 503; default: a quarter of `requests`.",
        ),
        default(
            "h2_streams",
            Shape::Integer(1, 10_000),
            "100",
            "Maximum number of concurrent HTTP/2 streams per connection.",
        ),
        default("h2_resets", COUNT, "100", "Maximum number of HTTP/2 stream resets per second and connection."),
        default(
            "h2_resets_per_ip",
            COUNT,
            "500",
            "Maximum number of HTTP/2 stream resets per second and client address, over all its connections; trusted proxies are exempt.",
        ),
        default("h2_pings", COUNT, "50", "Maximum number of HTTP/2 PING frames per second and connection."),
        default("h2_settings", COUNT, "20", "Maximum number of HTTP/2 SETTINGS frames per second and connection."),
        default("h2_continuations", COUNT, "16", "Maximum number of HTTP/2 CONTINUATION frames per header block."),
        default("handshake_timeout", Shape::Pattern(DURATION), "\"10s\"", "Time limit for the TLS handshake."),
        default(
            "header_timeout",
            Shape::Pattern(DURATION),
            "\"10s\"",
            "Time limit for the head of a request; slower requests get 408.",
        ),
        default(
            "idle_timeout",
            Shape::Pattern(DURATION),
            "\"60s\"",
            "Time after which a connection without a request is closed.",
        ),
        default(
            "stall_timeout",
            Shape::Pattern(DURATION),
            "\"30s\"",
            "Longest time without a byte of a body, in either direction.",
        ),
        default(
            "body_rate",
            Shape::Integer(0, 1_000_000_000),
            "240",
            "Minimum rate of a request body, in bytes per second; 0 for no minimum.",
        ),
        default(
            "encoded_slash",
            Shape::Words(&["keep", "reject"]),
            "\"keep\"",
            "Whether `%2f`, `%5c` and `\\` in a path are kept, or the request is rejected.",
        ),
    ],
    later: &[],
};

/// `[access_log]`.
pub(in crate::config) const ACCESS_LOG: TableSpec = TableSpec {
    title: "[access_log]",
    doc: "The access log: one line per request.",
    keys: &[
        default("sink", Shape::Text, "\"stdout\"", "Destination: `stdout`, `off`, or the path of a file."),
        optional(
            "format",
            Shape::Words(&["json", "common", "short"]),
            "Format of a line; default: `short` if the sink is `stdout` and a terminal, otherwise `json`.",
        ),
        default(
            "sample",
            Shape::Number(0, 1),
            "1.0",
            "Share of successful requests that is logged, from 0 to 1; failed requests are always logged.",
        ),
    ],
    later: &[],
};

/// The names of all listeners, for references to them.
#[derive(Debug)]
pub(in crate::config) struct Listeners {
    names: Vec<String>,
    /// Whether the list is complete. If not, a listener has errors of its own, and its name is not reported as unknown.
    complete: bool,
}

impl Listeners {
    /// The names of `specs`. `count` is the number of listeners in the files.
    pub(in crate::config) fn new(specs: &[ListenerSpec], count: usize) -> Self {
        Self { names: specs.iter().map(|spec| spec.name.clone()).collect(), complete: specs.len() == count }
    }

    /// The name of a listener; reports an error if there is no such listener.
    pub(in crate::config) fn find(&self, context: &mut Context<'_>, name: &SpannedString<'_>) -> Option<String> {
        let names = || self.names.iter().map(String::as_str);
        if names().any(|known| known == &**name) {
            return Some(name.to_string());
        }
        if self.complete {
            let known = || names().take(8).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
            let help = did_you_mean(name, names()).unwrap_or_else(|| format!("there is {}", known()));
            let message = format!("there is no listener `{}`", &**name);
            context.report(Finding::error("unknown-listener", name.span, message).help(help));
        }
        None
    }
}

/// Compiles all listeners, their TLS configurations, and their addresses. Names are unique and addresses do not
/// overlap.
pub(in crate::config) fn listeners(
    context: &mut Context<'_>,
    readers: &[Reader<'_>],
) -> (Vec<ListenerSpec>, Vec<Option<Arc<Server>>>, ListenAddresses) {
    let mut names: HashMap<String, Span> = HashMap::default();
    let mut addresses = ListenAddresses::default();
    let (mut all, mut servers) = (Vec::new(), Vec::new());
    for reader in readers {
        let name = reader.shown_text(context, "name");
        let text = reader.require(context, "address").and_then(|item| item.shown_text(context));
        let limits = reader.table(context, "limits", &LIMITS).map(|reader| limits(context, &reader));
        let senders = reader.table(context, "proxy_protocol", &PROXY_PROTOCOL);
        let proxy_senders = senders.map(|reader| proxy_senders(context, &reader)).unwrap_or_default();
        let secured = reader.get("tls").map(|item| tls::tls(context, &item, &TLS));
        let redirect = redirect(context, reader);
        reader.finish(context);
        let Some((text, address)) =
            text.and_then(|text| address(context, &text, AddressUse::Listener).map(|address| (text, address)))
        else {
            continue;
        };
        let is_new = addresses.add(context, address, text.span);
        let is_named = name.is_some();
        let name = name.unwrap_or_else(|| text.clone());
        // Without a name, the address is the name: a duplicate address is then one error, not two.
        if is_named || is_new {
            define_name(context, &mut names, name.to_string(), name.span);
        }
        let (spec, server) = secured.flatten().unzip();
        servers.push(server);
        let (name, limits) = (name.to_string(), limits.unwrap_or_default());
        all.push(ListenerSpec { name, address, limits, proxy_senders, tls: spec, redirect });
    }
    (all, servers, addresses)
}

/// Compiles `redirect`, which must lead from cleartext to `https`, so that no redirect returns to this listener.
fn redirect(context: &mut Context<'_>, reader: &Reader<'_>) -> Option<Redirect> {
    let item = reader.get("redirect")?;
    let redirect = action::redirect(context, &item)?;
    let refusal = if reader.get("tls").is_some() {
        "a listener with `tls` already serves `https`"
    } else if !redirect.to.starts_with("https://") {
        "the `redirect` of a listener must lead to `https://…`"
    } else {
        return Some(redirect);
    };
    let finding = Finding::error("redirect-loop", item.span(), refusal);
    context.report(finding.help("write `redirect = { to = \"https://{host}{path}{query}\" }` in a cleartext listener; write other redirects in a route"));
    None
}

fn proxy_senders(context: &mut Context<'_>, reader: &Reader<'_>) -> Vec<IpNet> {
    let items = reader.require(context, "from").map(|item| item.not_empty(context)).unwrap_or_default();
    reader.finish(context);
    items.iter().filter_map(|item| value::network(context, item)).collect()
}

/// Adds a name; reports an error if another listener has it.
fn define_name(context: &mut Context<'_>, known: &mut HashMap<String, Span>, name: String, at: Span) {
    if let Some(first) = known.get(&name) {
        let finding = Finding::error("duplicate-name", at, format!("two listeners have the name `{name}`"));
        context.report(finding.label("and again here").also(*first, "first here"));
    } else {
        known.insert(name, at);
    }
}

fn limits(context: &mut Context<'_>, reader: &Reader<'_>) -> Limits {
    let mut limits = Limits::default();
    let counts: [(&'static str, &mut u32); 12] = [
        ("connections", &mut limits.connections),
        ("connections_per_ip", &mut limits.connections_per_ip),
        ("connection_rate_per_ip", &mut limits.connection_rate_per_ip),
        ("headers", &mut limits.headers),
        ("requests", &mut limits.requests),
        ("h2_streams", &mut limits.h2_streams),
        ("h2_resets", &mut limits.h2_resets),
        ("h2_resets_per_ip", &mut limits.h2_resets_per_ip),
        ("h2_pings", &mut limits.h2_pings),
        ("h2_settings", &mut limits.h2_settings),
        ("h2_continuations", &mut limits.h2_continuations),
        ("body_rate", &mut limits.body_rate),
    ];
    for (key, field) in counts {
        *field = reader.count(context, key).unwrap_or(*field);
    }
    limits.requests_per_ip = reader.count(context, "requests_per_ip").unwrap_or(limits.requests.div_ceil(4));
    for (key, field) in [("header_bytes", &mut limits.header_bytes), ("uri_bytes", &mut limits.uri_bytes)] {
        let bytes = reader.get(key).and_then(|item| value::size(context, &item, 256..=64 << 10));
        *field = bytes.and_then(|bytes| u32::try_from(bytes).ok()).unwrap_or(*field);
    }
    for (key, field) in [
        ("handshake_timeout", &mut limits.handshake_timeout),
        ("header_timeout", &mut limits.header_timeout),
        ("idle_timeout", &mut limits.idle_timeout),
        ("stall_timeout", &mut limits.stall_timeout),
    ] {
        let Some(item) = reader.get(key) else { continue };
        match value::duration(context, &item) {
            Some(duration) if duration.is_zero() => {
                item.refuse(
                    context,
                    "out-of-range",
                    format!("`{key}` cannot be zero: connections could stay open forever"),
                );
            }
            Some(duration) => *field = duration,
            None => {}
        }
    }
    limits.encoded_slash = match reader.word(context, "encoded_slash") {
        Some(1) => EncodedSlash::Reject,
        _ => EncodedSlash::Keep,
    };
    reader.finish(context);
    limits
}

/// Compiles `[access_log]`.
pub(in crate::config) fn access_log(context: &mut Context<'_>, reader: Option<&Reader<'_>>) -> AccessLog {
    let mut log = AccessLog::default();
    let Some(reader) = reader else { return log };
    if let Some(sink) = reader.shown_text(context, "sink") {
        log.sink = match &*sink {
            "stdout" => LogSink::Stdout,
            "off" => LogSink::Off,
            "" => {
                context.report(Finding::error("bad-path", sink.span, "`sink` must be `stdout`, `off` or a path"));
                LogSink::Off
            }
            path => LogSink::File(PathBuf::from(path)),
        };
    }
    let formats = [LogFormat::Json, LogFormat::Common, LogFormat::Short];
    log.format = reader.word(context, "format").and_then(|at| formats.get(at).copied());
    log.sample = value::share(context, reader, "sample").unwrap_or(log.sample);
    reader.finish(context);
    log
}
