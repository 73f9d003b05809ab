//! Where a program is that is asked over HTTP, from its `url`, `headers`, `timeout` and `tls`.

use std::time::Duration;

use http::HeaderName;
use http::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, HOST, USER_AGENT};

use super::client_tls::{Owner, SystemRoots};
use super::{action, client_tls};
use crate::config::toml::context::Context;
use crate::config::toml::diagnostic::Finding;
use crate::config::toml::reader::Reader;
use crate::config::toml::source::Span;
use crate::config::toml::spanned_string::SpannedString;
use crate::config::toml::spec::{DURATION, KeySpec, Shape, default, optional};
use crate::config::toml::value;
use crate::config::toml::web_url::{WebUrl, parse_web_url};
use crate::route::{ClientTls, HttpTarget};
use crate::tls;

/// How long an answer may take, where the file does not say it.
pub(super) const TIMEOUT: Duration = Duration::from_secs(5);

/// The longest URL, in bytes.
const URL_BYTES_MAX: usize = 2_048;

/// The headers that Pointsman sets itself.
const OWN: [HeaderName; 5] = [HOST, CONTENT_TYPE, CONTENT_LENGTH, ACCEPT, USER_AGENT];

/// `headers`.
pub(super) const HEADERS: KeySpec =
    optional("headers", Shape::Map(&Shape::Text), "Headers of each request, such as `authorization`.");

/// `timeout`.
pub(super) const TIMEOUT_KEY: KeySpec =
    default("timeout", Shape::Pattern(DURATION), "\"5s\"", "How long an answer may take, 10ms to 1m.");

/// A target, and its URL for output.
pub(super) struct ShownTarget {
    pub(super) target: HttpTarget,
    /// The URL with its variables not expanded.
    pub(super) shown: String,
}

/// Compiles a target. All keys are read, so that all errors are found.
pub(super) fn target(
    context: &mut Context<'_>,
    owner: &Owner<'_, '_>,
    system: &mut SystemRoots,
) -> Option<ShownTarget> {
    let reader = owner.reader();
    let text = reader.require(context, "url").and_then(|item| item.text(context));
    let url = text.as_ref().and_then(|text| url(context, text));
    let tls = target_tls(context, owner, url.as_ref(), system);
    let mut headers = Vec::new();
    for named in reader.get("headers").map(|item| item.map(context)).unwrap_or_default() {
        let name = header(context, named.name, named.span);
        let text = named.item.text(context).and_then(|text| value::header_value(context, &text));
        headers.extend(name.zip(text).map(|(name, mut text)| {
            text.set_sensitive(true);
            (name, text)
        }));
    }
    let bounds = DurationBounds { least: Duration::from_millis(10), most: Duration::from_mins(1), words: "10ms to 1m" };
    let timeout = bounded(context, reader, "timeout", &bounds).unwrap_or(TIMEOUT);
    let shown = text?.shown().to_owned();
    let WebUrl { host, port, path, .. } = url?;
    Some(ShownTarget { target: HttpTarget { host, port, path, tls, headers, timeout }, shown })
}

/// A range of durations.
pub(super) struct DurationBounds {
    pub(super) least: Duration,
    pub(super) most: Duration,
    /// The range in words.
    pub(super) words: &'static str,
}

/// The duration of a key, within bounds.
pub(super) fn bounded(
    context: &mut Context<'_>,
    reader: &Reader<'_>,
    key: &'static str,
    bounds: &DurationBounds,
) -> Option<Duration> {
    let item = reader.get(key)?;
    let found = value::duration(context, &item)?;
    if (bounds.least..=bounds.most).contains(&found) {
        return Some(found);
    }
    item.refuse(context, "out-of-range", format!("`{key}` must be {}", bounds.words));
    None
}

fn url(context: &mut Context<'_>, text: &SpannedString<'_>) -> Option<WebUrl> {
    if text.len() > URL_BYTES_MAX {
        let message = format!("this URL is longer than {URL_BYTES_MAX} bytes");
        context.report(Finding::error("bad-url", text.span, message));
        return None;
    }
    match parse_web_url(text) {
        Ok(url) => Some(url),
        Err((message, help)) => {
            let finding = Finding::error("bad-url", text.span, format!("`{}` {message}", text.shown()));
            context.report(finding.help(help));
            None
        }
    }
}

/// The TLS configuration for an `https://` URL.
fn target_tls(
    context: &mut Context<'_>,
    owner: &Owner<'_, '_>,
    url: Option<&WebUrl>,
    system: &mut SystemRoots,
) -> Option<ClientTls> {
    let is_given = owner.reader().get("tls").is_some();
    let url = url?;
    if url.secured {
        let tls = client_tls::tls(context, owner, system)?;
        if tls.server_name.is_none() && !tls::is_server_name(&url.host) {
            let message = "no certificate can have the name of this host";
            let finding = Finding::error("bad-url", owner.reader().place("url"), message);
            context.report(finding.help("write a host name or an IP address, or `server_name` in `tls`"));
        }
        return Some(tls);
    }
    if is_given {
        client_tls::refuse_useless(context, owner, "has no `https://` URL", "write `https://host` in `url`");
    }
    None
}

/// The name of an additional header.
fn header(context: &mut Context<'_>, name: &str, at: Span) -> Option<HeaderName> {
    let name = action::own_header(context, name, at)?;
    if OWN.contains(&name) {
        context.report(Finding::error("bad-header", at, format!("`{name}` is set by Pointsman and cannot be changed")));
        return None;
    }
    Some(name)
}
