//! `identity.jwt` and `identity.geo`: the files that tell more about a caller, read and found to hold.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::config::read;
use crate::config::toml::context::Context;
use crate::config::toml::diagnostic::Finding;
use crate::config::toml::item::Item;
use crate::config::toml::reader::Reader;
use crate::config::toml::source::Span;
use crate::config::toml::spec::{DURATION, Form, Spec, default, optional, required};
use crate::config::toml::text::Text;
use crate::config::toml::value;
use crate::identity::{Algorithms, Flaw, Geo, Keys, Tokens, Trusted, Where, Witnesses};

/// How far clocks may differ, unless the file says otherwise.
const LEEWAY: Duration = Duration::from_secs(30);
/// How large a file of keys may be.
const KEYS_BYTES_MAX: u64 = 1 << 20;
/// How large a database may be.
const GEO_BYTES_MAX: u64 = 512 << 20;

/// `identity.jwt`.
pub(super) const JWT: Spec = Spec {
    title: "[identity.jwt]",
    doc: "Tokens that tell who the caller is. One that does not hold names nobody; the request goes on.",
    keys: &[
        default("header", Form::Text, "\"authorization\"", "The header that carries it, after `Bearer`."),
        optional("cookie", Form::Text, "The cookie that carries it, instead of a header."),
        required("keys", Form::Text, "A JWK set with the public keys of the issuer. Watched like the routes file."),
        optional("issuer", Form::OneOrMore(&Form::Text), "`iss` must be one of these."),
        optional("audience", Form::OneOrMore(&Form::Text), "`aud` must name one of these."),
        default("leeway", Form::Pattern(DURATION), "\"30s\"", "How far the clocks may differ."),
        optional("algorithms", Form::OneOrMore(&ALGORITHM), "Those that are accepted, of those that fit the keys."),
    ],
    later: &[],
};

const ALGORITHM: Form = Form::Words(Algorithms::NAMES);

/// `identity.geo`.
pub(super) const GEO: Spec = Spec {
    title: "[identity.geo]",
    doc: "Where callers are, by their address.",
    keys: &[required("database", Form::Text, "A database of countries in MaxMind's format. Watched.")],
    later: &[],
};

/// Compiles both.
pub(in crate::config) fn witnesses(context: &mut Context<'_>, reader: &Reader<'_>) -> Witnesses {
    let tokens = reader.get("jwt");
    let geo = reader.get("geo");
    // Also when they do not hold: what uses them is then no second mistake.
    context.has_jwt = tokens.is_some();
    context.has_geo = geo.is_some();
    Witnesses {
        tokens: tokens.and_then(|item| tokens_of(context, &item)).map(Arc::new),
        geo: geo.and_then(|item| geo_of(context, &item)).map(Arc::new),
    }
}

fn tokens_of(context: &mut Context<'_>, item: &Item<'_>) -> Option<Tokens> {
    let reader = item.table(context, &JWT)?;
    let place = place(context, &reader);
    let path = reader.need(context, "keys").and_then(|item| item.place_text(context));
    let issuers = texts(context, &reader, "issuer");
    let audiences = texts(context, &reader, "audience");
    let leeway = reader.get("leeway").map_or(Some(LEEWAY), |item| value::duration(context, &item));
    let algorithms = reader.get("algorithms").map(|item| algorithms(context, &item));
    reader.finish(context);
    if audiences.is_empty() && reader.get("audience").is_none() {
        let message = "tokens for anybody are believed: no `audience` is given";
        let finding = Finding::warning("any-audience", item.span(), message);
        context.report(finding.help("name what tokens for this service carry as `aud`"));
    }
    let path = path?;
    let bytes = file(context, &path, KEYS_BYTES_MAX)?;
    let keys = match Keys::parse(&bytes) {
        Ok((keys, odd)) => {
            for flaw in odd {
                report::<()>(context, Finding::warning, &path, &flaw);
            }
            keys
        }
        Err(flaw) => return report(context, Finding::error, &path, &flaw),
    };
    let trusted = Trusted { algorithms: algorithms.unwrap_or_default(), issuers, audiences, leeway: leeway? };
    Some(Tokens::new(place?, keys, trusted))
}

fn place(context: &mut Context<'_>, reader: &Reader<'_>) -> Option<Where> {
    let header = reader.text(context, "header");
    let cookie = reader.text(context, "cookie");
    match (header, cookie) {
        (Some(_), Some(cookie)) => {
            let message = "a token is in a header or in a cookie, not in both";
            context.report(Finding::error("ambiguous", cookie.span, message).help("leave one of them out"));
            None
        }
        (None, Some(cookie)) => value::token(context, &cookie, cookie.span).then(|| Where::Cookie(cookie.to_string())),
        (Some(header), None) => value::header_name(context, &header, header.span).map(Where::Header),
        (None, None) => Some(Where::Header(http::header::AUTHORIZATION)),
    }
}

fn texts(context: &mut Context<'_>, reader: &Reader<'_>, key: &'static str) -> Vec<String> {
    let Some(item) = reader.get(key) else { return Vec::new() };
    let items = item.not_empty(context);
    items.iter().filter_map(|item| item.text(context)).map(|text| text.to_string()).collect()
}

fn algorithms(context: &mut Context<'_>, item: &Item<'_>) -> Algorithms {
    let items = item.not_empty(context);
    let places = items.iter().filter_map(|item| item.word(context, Algorithms::NAMES));
    Algorithms::named(places.filter_map(|at| Algorithms::NAMES.get(at)).collect::<Vec<_>>())
}

fn geo_of(context: &mut Context<'_>, item: &Item<'_>) -> Option<Geo> {
    let reader = item.table(context, &GEO)?;
    let path = reader.need(context, "database").and_then(|item| item.place_text(context));
    reader.finish(context);
    let path = path?;
    let bytes = file(context, &path, GEO_BYTES_MAX)?;
    match Geo::parse(bytes) {
        Ok(geo) => Some(geo),
        Err(flaw) => report(context, Finding::error, &path, &flaw),
    }
}

/// The bytes of a file, which the result depends on.
fn file(context: &mut Context<'_>, written: &Text<'_>, bytes_max: u64) -> Option<Vec<u8>> {
    let path = beside(context, written);
    context.watch(&path);
    match read::bytes_within(&path, bytes_max) {
        Ok(bytes) => {
            context.depend(&bytes);
            Some(bytes)
        }
        Err(error) => {
            let message = format!("cannot read `{}`: {error}", path.display());
            context.report(Finding::error("unreadable", written.span, message));
            None
        }
    }
}

/// A path, from the file that names it.
fn beside(context: &Context<'_>, written: &Text<'_>) -> PathBuf {
    let base = context.files.name(written.span.file);
    Path::new(&*base).parent().unwrap_or_else(|| Path::new("")).join(&**written)
}

fn report<T>(
    context: &mut Context<'_>,
    severity: fn(&'static str, Span, String) -> Finding,
    written: &Text<'_>,
    flaw: &Flaw,
) -> Option<T> {
    let message = format!("`{}` {}", beside(context, written).display(), flaw.what);
    context.report(severity(flaw.code, written.span, message));
    None
}
