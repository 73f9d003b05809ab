//! `redirect`, `respond` and `[route.headers]`: what a route does besides choosing a variant.

use http::{HeaderName, StatusCode};

use crate::config::toml::context::Context;
use crate::config::toml::destination::{is_absolute, is_one_word};
use crate::config::toml::diagnostic::Finding;
use crate::config::toml::item::{Item, Named};
use crate::config::toml::reader::Reader;
use crate::config::toml::source::Span;
use crate::config::toml::spanned_string::SpannedString;
use crate::config::toml::spec::{Shape, TableSpec, default, optional, required};
use crate::config::toml::suggest::did_you_mean;
use crate::config::toml::value;
use crate::route::{HeaderEdits, MARKER, Part, Redirect, Respond, Template, TemplateFault};

/// `redirect = { … }`.
pub(super) const REDIRECT: TableSpec = TableSpec {
    title: "[route.redirect]",
    doc: "Answers with a redirect.",
    keys: &[
        required(
            "to",
            Shape::Text,
            "Target URL or path; `{scheme}`, `{host}`, `{path}` and `{query}` are replaced by those of the request.",
        ),
        default("status", Shape::Integer(301, 308), "308", "Status code: 301, 302, 303, 307 or 308."),
    ],
    later: &[],
};

/// `respond = { … }`.
pub(super) const RESPOND: TableSpec = TableSpec {
    title: "[route.respond]",
    doc: "Answers without an upstream.",
    keys: &[
        default("status", Shape::Integer(200, 599), "200", "Status code of the response."),
        optional("body", Shape::Text, "Body of the response; empty by default."),
        default("content_type", Shape::Text, "\"text/plain; charset=utf-8\"", "`Content-Type` of the response."),
    ],
    later: &["headers"],
};

/// `[route.headers]`.
pub(super) const HEADERS: TableSpec = TableSpec {
    title: "[route.headers]",
    doc: "Edits to headers. Values may contain `{variant}`, `{route}`, `{client_ip}`, `{tenant}` and `{request_id}`.",
    keys: &[
        optional("request", Shape::Table(&EDITS), "Edits to the request that is sent to the upstream."),
        optional("response", Shape::Table(&EDITS), "Edits to the response that is sent to the client."),
    ],
    later: &[],
};

const VALUES: Shape = Shape::Map(&Shape::Text);

/// Edits to the headers of one message.
pub(in crate::config) const EDITS: TableSpec = TableSpec {
    title: "edits to headers",
    doc: "Edits to headers, applied in this order: `remove`, `set`, `add`.",
    keys: &[
        optional("remove", Shape::OneOrMore(&Shape::Text), "Names of headers to remove."),
        optional("set", VALUES, "Headers to set; each replaces all lines of that name."),
        optional("add", Shape::Map(&Shape::OneOrMore(&Shape::Text)), "Headers to add as further lines."),
    ],
    later: &[],
};

/// Headers of one connection or of message framing (RFC 9110 §7.6.1), which cannot be edited.
const NOT_EDITED: &[&str] = &[
    "connection",
    "content-length",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Help for edits of `Host` in a route.
const HOST_HELP: &str = "write `[route.rewrite]` with `host = \"…\"`";

/// Compiles `redirect`.
pub(in crate::config) fn redirect(context: &mut Context<'_>, item: &Item<'_>) -> Option<Redirect> {
    let reader = item.table(context, &REDIRECT)?;
    let to = reader.require(context, "to").and_then(|item| item.text(context));
    let template = to.as_ref().and_then(|text| template(context, text, Use::Redirect));
    let errors = context.errors();
    if let Some(text) = to.filter(|_| template.is_some()) {
        check_destination(context, &text);
    }
    let template = template.filter(|_| errors == context.errors());
    let status = reader.get("status").map_or(Some(308), |item| redirect_status(context, &item));
    reader.finish(context);
    Some(Redirect { to: template?, status: status_code(status?)? })
}

/// Refuses targets that browsers would resolve relative to the current path.
fn check_destination(context: &mut Context<'_>, to: &SpannedString<'_>) {
    if !is_one_word(to) {
        let message = "the target of a redirect must be a URL or a path without spaces";
        context.report(Finding::error("bad-template", to.span, message));
        return;
    }
    if is_absolute(to) {
        return;
    }
    let message = format!(
        "`{}` has no scheme and no slash at the beginning: browsers would append it to the current path",
        &**to
    );
    let help = format!("write `https://{}` for another host, or `/{}` for a path", &**to, &**to);
    context.report(Finding::error("relative-redirect", to.span, message).help(help));
}

/// The status of a redirect. The other 3xx codes are not redirects that a client follows by itself.
fn redirect_status(context: &mut Context<'_>, item: &Item<'_>) -> Option<u32> {
    let status = item.integer(context, i64::MIN..=i64::MAX)?;
    let found = [301, 302, 303, 307, 308].into_iter().find(|known| i64::from(*known) == status);
    if found.is_none() {
        item.refuse(context, "out-of-range", "the `status` of a redirect must be 301, 302, 303, 307 or 308");
    }
    found
}

fn status_code(status: u32) -> Option<StatusCode> {
    u16::try_from(status).ok().and_then(|status| StatusCode::from_u16(status).ok())
}

/// Compiles `respond`.
pub(in crate::config) fn respond(context: &mut Context<'_>, item: &Item<'_>) -> Option<Respond> {
    let reader = item.table(context, &RESPOND)?;
    let status = reader.count(context, "status").unwrap_or(200);
    let body = reader.text(context, "body").map(|text| text.to_string()).unwrap_or_default();
    if let (204 | 304, false, Some(item)) = (status, body.is_empty(), reader.get("body")) {
        item.refuse(context, "useless-key", format!("a response with status {status} has no body"));
    }
    let given = reader.text(context, "content_type");
    let given = given.as_ref().map(|text| value::header_value(context, text));
    reader.finish(context);
    let default_type = http::HeaderValue::from_static("text/plain; charset=utf-8");
    let content_type = given.unwrap_or(Some(default_type))?;
    Some(Respond { status: status_code(status)?, body: body.into(), content_type })
}

/// Compiles `[route.headers]`: the edits of the request and of the response.
pub(in crate::config) fn headers(context: &mut Context<'_>, reader: &Reader<'_>) -> (HeaderEdits, HeaderEdits) {
    let Some(reader) = reader.table(context, "headers", &HEADERS) else { return Default::default() };
    let request = edits(context, &reader, "request", HOST_HELP);
    let response = edits(context, &reader, "response", HOST_HELP);
    reader.finish(context);
    (request, response)
}

/// Compiles edits. `host_help` is the help for edits of `Host`.
pub(in crate::config) fn edits(
    context: &mut Context<'_>,
    reader: &Reader<'_>,
    key: &'static str,
    host_help: &'static str,
) -> HeaderEdits {
    let mut edits = HeaderEdits::default();
    let Some(reader) = reader.table(context, key, &EDITS) else { return edits };
    for item in reader.get("remove").map(|item| item.one_or_more()).unwrap_or_default() {
        let text = item.text(context);
        edits.remove.extend(text.and_then(|text| editable(context, &text, text.span, host_help)));
    }
    let mut seen: Vec<(HeaderName, Span)> = Vec::new();
    for named in reader.get("set").map(|item| item.map(context)).unwrap_or_default() {
        let name = editable(context, named.name, named.span, host_help);
        let value = one(context, &named);
        let Some(name) = name else { continue };
        if let Some((_, first)) = seen.iter().take(1_000).find(|(known, _)| *known == name) {
            let finding = Finding::error("duplicate-key", named.span, format!("`{name}` is set twice"));
            context.report(finding.label("and again here").also(*first, "first set here"));
        }
        seen.push((name.clone(), named.span));
        edits.set.extend(value.map(|value| (name, value)));
    }
    for named in reader.get("add").map(|item| item.map(context)).unwrap_or_default() {
        let name = editable(context, named.name, named.span, host_help);
        for item in named.item.one_or_more() {
            let value = one(context, &Named { item, ..named });
            edits.add.extend(name.clone().zip(value));
        }
    }
    reader.finish(context);
    edits
}

fn one(context: &mut Context<'_>, named: &Named<'_>) -> Option<Template> {
    let text = named.item.text(context)?;
    template(context, &text, Use::Header)
}

/// The name of a header that can be edited.
pub(super) fn own_header(context: &mut Context<'_>, name: &str, at: Span) -> Option<HeaderName> {
    let name = value::header_name(context, name, at)?;
    if NOT_EDITED.contains(&name.as_str()) {
        let message = format!("`{name}` belongs to the connection and cannot be edited");
        context.report(Finding::error("bad-header", at, message));
        return None;
    }
    Some(name)
}

fn editable(context: &mut Context<'_>, name: &str, at: Span, host_help: &'static str) -> Option<HeaderName> {
    let name = own_header(context, name, at)?;
    if name == MARKER {
        let message = format!("`{MARKER}` marks the copies of a shadow and cannot be edited");
        context.report(Finding::error("bad-header", at, message));
        return None;
    }
    if name == http::header::HOST {
        let finding = Finding::error("bad-header", at, "`host` cannot be edited as a header");
        context.report(finding.help(host_help));
        return None;
    }
    Some(name)
}

/// Where a template is used.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Use {
    Header,
    Redirect,
}

/// Help for an unknown placeholder: the nearest one, or else all that are available.
fn placeholder_help(name: &str, purpose: Use) -> String {
    let fits = |part: &&Part| purpose == Use::Redirect || !part.is_for_redirects();
    let names: Vec<_> = Part::placeholders().filter(fits).filter_map(Part::name).collect();
    did_you_mean(name, names.iter().copied()).unwrap_or_else(|| {
        let names: Vec<_> = names.iter().map(|name| format!("`{{{name}}}`")).collect();
        format!("the placeholders are {}; write `{{{{` for a literal brace", names.join(", "))
    })
}

fn template(context: &mut Context<'_>, text: &SpannedString<'_>, purpose: Use) -> Option<Template> {
    match Template::parse(text) {
        Ok(template) => {
            let misplaced = template.placeholders().find(|part| purpose == Use::Header && part.is_for_redirects());
            if let Some(name) = misplaced.and_then(Part::name) {
                let message = format!("`{{{name}}}` is available in redirects only");
                context.report(Finding::error("bad-template", text.span, message));
                return None;
            }
            Some(template)
        }
        Err(error) => {
            let help = match &error.what {
                TemplateFault::Unknown(name) => Some(placeholder_help(name, purpose)),
                TemplateFault::Unbalanced | TemplateFault::Control => None,
            };
            let at = value::inside(context, text, error.at, error.len);
            context.report(Finding::error("bad-template", at, error.to_string()).maybe_help(help));
            None
        }
    }
}
