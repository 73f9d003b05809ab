//! `identity.jwt` and `identity.geo`: reads the key set and the country database.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::config::read;
use crate::config::toml::applied_files::FileUse;
use crate::config::toml::context::Context;
use crate::config::toml::diagnostic::Finding;
use crate::config::toml::item::Item;
use crate::config::toml::reader::Reader;
use crate::config::toml::source::Span;
use crate::config::toml::spanned_string::SpannedString;
use crate::config::toml::spec::{DURATION, Shape, TableSpec, default, optional, required};
use crate::config::toml::value;
use crate::identity::{
    Algorithms, GeoDatabase, IdentityProviders, KeySet, ProviderFileError, TokenLocation, TokenPolicy, TokenVerifier,
};

/// The default of `leeway`.
const LEEWAY: Duration = Duration::from_secs(30);
/// The largest key set.
const KEYS_BYTES_MAX: u64 = 1 << 20;
/// The largest database.
const GEO_BYTES_MAX: u64 = 512 << 20;

/// `identity.jwt`.
pub(super) const JWT: TableSpec = TableSpec {
    title: "[identity.jwt]",
    doc: "Tokens (JWT) that identify the caller. The claims of an invalid token are ignored; the request is still routed.",
    keys: &[
        default(
            "header",
            Shape::Text,
            "\"authorization\"",
            "Header that carries the token; in `Authorization`, after `Bearer`.",
        ),
        optional("cookie", Shape::Text, "Cookie that carries the token, instead of a header."),
        required(
            "keys",
            Shape::Text,
            "File with the public keys of the issuer, as a JWK set; it is watched for changes.",
        ),
        optional("issuer", Shape::OneOrMore(&Shape::Text), "Accepted values of `iss`; default: any."),
        optional("audience", Shape::OneOrMore(&Shape::Text), "Accepted values of `aud`; default: any."),
        default(
            "leeway",
            Shape::Pattern(DURATION),
            "\"30s\"",
            "Clock difference that is tolerated when `exp` and `nbf` are checked.",
        ),
        optional(
            "algorithms",
            Shape::OneOrMore(&ALGORITHM),
            "Accepted signature algorithms; default: all that fit the keys.",
        ),
    ],
    later: &[],
};

const ALGORITHM: Shape = Shape::Words(Algorithms::NAMES);

/// `identity.geo`.
pub(super) const GEO: TableSpec = TableSpec {
    title: "[identity.geo]",
    doc: "Countries of callers, by client address.",
    keys: &[required(
        "database",
        Shape::Text,
        "File with a database of countries in MaxMind's format; it is watched for changes.",
    )],
    later: &[],
};

/// Compiles both.
pub(in crate::config) fn identity_providers(context: &mut Context<'_>, reader: &Reader<'_>) -> IdentityProviders {
    let tokens = reader.get("jwt");
    let geo = reader.get("geo");
    // Also if they are invalid: conditions that use them need no second error.
    context.has_jwt = tokens.is_some();
    context.has_geo = geo.is_some();
    IdentityProviders {
        tokens: tokens.and_then(|item| token_verifier(context, &item)).map(Arc::new),
        geo: geo.and_then(|item| geo_database(context, &item)).map(Arc::new),
    }
}

fn token_verifier(context: &mut Context<'_>, item: &Item<'_>) -> Option<TokenVerifier> {
    let reader = item.table(context, &JWT)?;
    let location = location(context, &reader);
    let path = reader.require(context, "keys").and_then(|item| item.shown_text(context));
    let issuers = texts(context, &reader, "issuer");
    let audiences = texts(context, &reader, "audience");
    let leeway = reader.get("leeway").map_or(Some(LEEWAY), |item| value::duration(context, &item));
    let algorithms = reader.get("algorithms").map(|item| algorithms(context, &item));
    reader.finish(context);
    if audiences.is_empty() && reader.get("audience").is_none() {
        let message = "tokens for any audience are accepted: `audience` is missing";
        let finding = Finding::warning("any-audience", item.span(), message);
        context.report(finding.help("list the values of `aud` in the tokens for this service"));
    }
    let path = path?;
    let bytes = file(context, &path, KEYS_BYTES_MAX)?;
    let keys = match KeySet::parse(&bytes) {
        Ok((keys, warnings)) => {
            for error in warnings {
                report::<()>(context, Finding::warning, &path, &error);
            }
            keys
        }
        Err(error) => return report(context, Finding::error, &path, &error),
    };
    let policy = TokenPolicy { algorithms: algorithms.unwrap_or_default(), issuers, audiences, leeway: leeway? };
    Some(TokenVerifier::new(location?, keys, policy))
}

fn location(context: &mut Context<'_>, reader: &Reader<'_>) -> Option<TokenLocation> {
    let header = reader.text(context, "header");
    let cookie = reader.text(context, "cookie");
    match (header, cookie) {
        (Some(_), Some(cookie)) => {
            let message = "a token is read from a header or a cookie, not from both";
            context.report(Finding::error("ambiguous", cookie.span, message).help("remove one of them"));
            None
        }
        (None, Some(cookie)) => {
            value::token(context, &cookie, cookie.span).then(|| TokenLocation::Cookie(cookie.to_string()))
        }
        (Some(header), None) => value::header_name(context, &header, header.span).map(TokenLocation::Header),
        (None, None) => Some(TokenLocation::Header(http::header::AUTHORIZATION)),
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

fn geo_database(context: &mut Context<'_>, item: &Item<'_>) -> Option<GeoDatabase> {
    let reader = item.table(context, &GEO)?;
    let path = reader.require(context, "database").and_then(|item| item.shown_text(context));
    reader.finish(context);
    let path = path?;
    let bytes = file(context, &path, GEO_BYTES_MAX)?;
    match GeoDatabase::parse(bytes) {
        Ok(geo) => Some(geo),
        Err(error) => report(context, Finding::error, &path, &error),
    }
}

/// Reads and watches a file.
fn file(context: &mut Context<'_>, written: &SpannedString<'_>, bytes_max: u64) -> Option<Vec<u8>> {
    let path = resolve(context, written);
    context.watch(&path);
    match read::opened_within(context, FileUse::Identity, &path, bytes_max) {
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

/// A path, relative to the file that names it.
fn resolve(context: &Context<'_>, written: &SpannedString<'_>) -> PathBuf {
    let base = context.files.name(written.span.file);
    Path::new(&*base).parent().unwrap_or_else(|| Path::new("")).join(&**written)
}

fn report<T>(
    context: &mut Context<'_>,
    severity: fn(&'static str, Span, String) -> Finding,
    written: &SpannedString<'_>,
    error: &ProviderFileError,
) -> Option<T> {
    let message = format!("`{}` {}", resolve(context, written).display(), error.problem);
    context.report(severity(error.code, written.span, message));
    None
}
