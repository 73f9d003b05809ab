//! `[identity]`: how a caller is identified, and which peers are trusted to say so.

use super::identity_providers::{GEO, JWT};
use super::identity_warnings::warn_no_client_auth;
use super::{identity_providers, predicate};
use crate::config::toml::context::Context;
use crate::config::toml::diagnostic::Finding;
use crate::config::toml::item::Item;
use crate::config::toml::reader::Reader;
use crate::config::toml::source::Span;
use crate::config::toml::spanned_string::SpannedString;
use crate::config::toml::spec::{Shape, TableSpec, default, optional};
use crate::config::toml::{grammar, value};
use crate::identity::IdentityProviders;
use crate::route::{CertField, EncodedSlash, Extractor, HostTemplate, Identity, PathTemplate, normal_path};

const EXTRACTOR: Shape = Shape::OneOrMore(&Shape::Pattern("^(header|cookie|query|host|path|jwt|client_cert):|\\$\\{"));

/// `[identity]`.
pub(in crate::config) const IDENTITY: TableSpec = TableSpec {
    title: "[identity]",
    doc: "How tenant, user and client address are read from a request, and which peers are trusted to send them.",
    keys: &[
        default(
            "trusted_proxies",
            Shape::OneOrMore(&Shape::Text),
            "[]",
            "Networks whose forwarding and identity headers are trusted, in CIDR notation.",
        ),
        optional(
            "tenant",
            EXTRACTOR,
            "Where the tenant is read, such as `header:x-tenant-id`; the first place with a value is used.",
        ),
        optional("user", EXTRACTOR, "Where the user is read, such as `jwt:sub`; the first place with a value is used."),
        optional("jwt", Shape::Table(&JWT), "Verification of tokens (JWT), whose claims identify the caller."),
        optional("geo", Shape::Table(&GEO), "Database that maps client addresses to countries."),
    ],
    later: &[],
};

/// Compiles `[identity]`.
pub(in crate::config) fn identity(
    context: &mut Context<'_>,
    reader: Option<&Reader<'_>>,
) -> (Identity, IdentityProviders) {
    let Some(reader) = reader else { return (Identity::default(), IdentityProviders::default()) };
    let identity_providers = identity_providers::identity_providers(context, reader);
    let trusted = reader.get("trusted_proxies").map(|item| item.one_or_more()).unwrap_or_default();
    let trusted_proxies: Vec<_> = trusted.iter().filter_map(|item| value::network(context, item)).collect();
    let tenant = extractors(context, reader, "tenant");
    let user = extractors(context, reader, "user");
    // Also if an extractor is invalid: that is an error of its own, and what depends on it needs no warning.
    context.identified.extend(["tenant", "user"].into_iter().filter(|key| reader.get(key).is_some()));
    reader.finish(context);
    if trusted.is_empty() {
        for (what, (extractor, at)) in tenant.iter().map(|e| ("tenant", e)).chain(user.iter().map(|e| ("user", e))) {
            if let Extractor::Header(name) = extractor {
                let message = format!("`{name}` is never accepted as the {what}: `trusted_proxies` is empty");
                let finding = Finding::warning("untrusted-identity", *at, message);
                context.report(
                    finding.help("list the proxies that set this header in `trusted_proxies`, or read a cookie"),
                );
            }
        }
    }
    let bare = |all: Vec<(Extractor, Span)>| all.into_iter().map(|(extractor, _)| extractor).collect();
    (Identity { trusted_proxies, tenant: bare(tenant), user: bare(user) }, identity_providers)
}

fn extractors(context: &mut Context<'_>, reader: &Reader<'_>, key: &'static str) -> Vec<(Extractor, Span)> {
    let items = reader.get(key).map(|item| item.one_or_more()).unwrap_or_default();
    items.iter().filter_map(|item| Some((extractor(context, item, key)?, item.span()))).collect()
}

fn extractor(context: &mut Context<'_>, item: &Item<'_>, what: &str) -> Option<Extractor> {
    let text = item.text(context)?;
    let (kind, rest) = text.split_once(':').unwrap_or((&text, ""));
    match kind {
        "header" => value::header_name(context, rest, text.span).map(Extractor::Header),
        "cookie" => value::token(context, rest, text.span).then(|| Extractor::Cookie(rest.to_owned())),
        "query" if !rest.is_empty() => Some(Extractor::Query(rest.to_owned())),
        "host" => host(context, &text, rest, what),
        "path" => path(context, &text, rest, what),
        "jwt" => predicate::claim(context, rest, text.span).map(Extractor::Claim),
        "client_cert" => {
            let field = CertField::ALL.into_iter().find(|field| field.name() == rest);
            if field.is_none() {
                let message = format!("`{}` is not an identity in a certificate", &*text);
                let help = "write `client_cert:cn`, `client_cert:dns`, `client_cert:uri` or `client_cert:email`";
                context.report(Finding::error("bad-extractor", text.span, message).help(help));
            }
            if field.is_some() {
                warn_no_client_auth(context, text.span, "no request has this identity");
            }
            field.map(Extractor::ClientCert)
        }
        _ => {
            let message = format!("`{}` is not a place where the {what} can be read", &*text);
            let help =
                "write `header:NAME`, `cookie:NAME`, `query:NAME`, `host:…`, `path:…`, `jwt:CLAIM` or `client_cert:cn`";
            context.report(Finding::error("bad-extractor", text.span, message).help(help));
            None
        }
    }
}

fn refuse<T>(context: &mut Context<'_>, text: &SpannedString<'_>, message: String, help: String) -> Option<T> {
    context.report(Finding::error("bad-extractor", text.span, message).help(help));
    None
}

fn host(context: &mut Context<'_>, text: &SpannedString<'_>, pattern: &str, what: &str) -> Option<Extractor> {
    let hole = format!("{{{what}}}");
    let help = format!("write `host:{hole}.example.com`: the {what} is one whole label");
    let lower = pattern.to_ascii_lowercase();
    let Some((before, after)) = lower.split_once(&hole) else {
        return refuse(context, text, format!("this host has no `{hole}`"), help);
    };
    let whole = (before.is_empty() || before.ends_with('.')) && (after.is_empty() || after.starts_with('.'));
    if !whole || !grammar::is_host(&format!("{before}x{after}")) {
        return refuse(context, text, format!("`{pattern}` is not a host with `{hole}` as a label"), help);
    }
    Some(Extractor::Host(HostTemplate { before: before.to_owned(), after: after.to_owned() }))
}

fn path(context: &mut Context<'_>, text: &SpannedString<'_>, pattern: &str, what: &str) -> Option<Extractor> {
    let hole = format!("{{{what}}}");
    let help = format!("write `path:/t/{hole}/*`: the {what} is one whole segment");
    let Some((before, after)) = pattern.split_once(&hole) else {
        return refuse(context, text, format!("this path has no `{hole}`"), help);
    };
    let whole = before.starts_with('/') && before.ends_with('/') && (after.is_empty() || after.starts_with('/'));
    let plain = after.strip_suffix("/*").unwrap_or(after);
    if !whole || format!("{before}{plain}").contains(['{', '}', '*', '?', '#']) {
        return refuse(context, text, format!("`{pattern}` is not a path with `{hole}` as a segment"), help);
    }
    let probe = format!("{before}x{plain}");
    match normal_path(&probe, EncodedSlash::Keep) {
        Ok(normal) if *normal == *probe => {}
        Ok(_) | Err(_) => {
            let help = "paths are matched in normal form: no dot segments, and letters, digits, `-`, `.`, `_` and `~` \
                        without escapes"
                .to_owned();
            return refuse(context, text, format!("no request has a path such as `{pattern}`"), help);
        }
    }
    let after = (after != "/*").then(|| after.to_owned());
    Some(Extractor::Path(PathTemplate { before: before.to_owned(), after }))
}
