//! What a list of endpoints and a file of endpoints share.

use ahash::HashMap;

use crate::config::toml::address::is_digits;
use crate::config::toml::context::Context;
use crate::config::toml::diagnostic::Finding;
use crate::config::toml::endpoint::parse;
use crate::config::toml::source::Span;
use crate::route::{EndpointHost, EndpointRole, EndpointSpec};

/// The most endpoints of an upstream.
pub(super) const ENDPOINTS_MAX: usize = 65_536;

/// The most findings of one kind about the endpoints of an upstream; further ones are counted.
pub(super) const SHOWN_MAX: usize = 5;

/// Endpoints with their places.
pub(super) type PlacedEndpoint = (EndpointSpec, Span);

/// Reports endpoints with the host and the port of an earlier one.
pub(super) fn refuse_duplicates(context: &mut Context<'_>, all: &[PlacedEndpoint], help: &'static str) {
    let mut firsts: HashMap<(EndpointHost, u16), Span> = HashMap::default();
    let (mut found, mut last) = (0_usize, None);
    for (endpoint, at) in all {
        let host = match &endpoint.host {
            EndpointHost::Ip(ip) => EndpointHost::Ip(ip.to_canonical()),
            EndpointHost::Name(name) => EndpointHost::Name(name.clone()),
        };
        let first = *firsts.entry((host, endpoint.port)).or_insert(*at);
        if first == *at {
            continue;
        }
        found += 1;
        last = Some(*at);
        if found <= SHOWN_MAX {
            let finding = Finding::error("duplicate-endpoint", *at, "this endpoint is listed twice");
            let finding = finding.label("and again here").also(first, "first listed here");
            context.report(finding.help(help));
        }
    }
    if let (Some(at), more @ 1..) = (last, found.saturating_sub(SHOWN_MAX)) {
        let message = format!("{more} more endpoints are listed twice; the last one is here");
        context.report(Finding::error("duplicate-endpoint", at, message));
    }
}

/// An endpoint by its URL; the error is a message and a help.
pub(super) fn by_url(text: &str) -> Result<EndpointSpec, (String, String)> {
    let message = match parse(text) {
        Ok((protocol, host, port)) => {
            return Ok(EndpointSpec { protocol, host, port, weight: 1, role: EndpointRole::Primary });
        }
        Err(message) => message,
    };
    let with_scheme = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    let port = text.strip_prefix("http://").unwrap_or(text).trim_start_matches(':');
    let is_port = is_digits(port) && port.parse::<u16>().is_ok_and(|port| port > 0);
    let help = if is_port {
        format!("write `http://127.0.0.1:{port}`, with a host")
    } else if parse(&with_scheme).is_ok() {
        format!("write `{with_scheme}`")
    } else if let Some(own) = on_this_machine(&with_scheme) {
        format!("write `{own}` for this machine")
    } else {
        "write `http://host:port`, `https://host:port`, or `h2c://host:port` for HTTP/2 in cleartext".to_owned()
    };
    Err((message, help))
}

/// The URL of this machine in place of one that names all addresses of a machine.
fn on_this_machine(url: &str) -> Option<String> {
    let all = [("://0.0.0.0", "://127.0.0.1"), ("://[::]", "://[::1]")];
    all.iter()
        .filter(|(every, _)| url.contains(every))
        .map(|(every, own)| url.replacen(every, own, 1))
        .find(|own| parse(own).is_ok())
}
