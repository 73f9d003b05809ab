//! The conditions of segments, targets and matches: all keys must match, a list has alternatives, `not = {…}` negates.

use super::{identity_warnings, tenants};
use crate::config::toml::context::Context;
use crate::config::toml::diagnostic::Finding;
use crate::config::toml::item::{Item, Named};
use crate::config::toml::reader::Reader;
use crate::config::toml::source::Span;
use crate::config::toml::spec::{KeyPresence, KeySpec, Shape, TableSpec, optional};
use crate::config::toml::value;
use crate::route::{CertField, Country, Predicate, StringMatch};

/// The keys of `{ regex = … }`, `{ prefix = … }` and `{ present = … }`.
pub(super) const STRING_MATCH: TableSpec = TableSpec {
    title: "a string match",
    doc: "How a value is compared: exactly one of these keys.",
    keys: &[
        optional("regex", Shape::Text, "Regular expression that matches a part of the value."),
        optional("prefix", Shape::Text, "The value begins with this string."),
        optional("present", Shape::Boolean, "`true`: there is a value; `false`: there is none."),
    ],
    later: &[],
};

/// The values to compare with: strings, or tables of [`STRING_MATCH`].
const COMPARED: Shape = Shape::OneOrMore(&Shape::Either(&[Shape::Text, Shape::Table(&STRING_MATCH)]));

/// A table with the names of headers, cookies or parameters, and the values to compare with.
pub(in crate::config) const NAMED: Shape = Shape::Map(&COMPARED);

/// A list of names, or a file with one name per line.
pub(super) const LISTED: Shape = Shape::Either(&[Shape::OneOrMore(&Shape::Text), Shape::Table(&tenants::FILE)]);

/// A key for a condition.
pub(in crate::config) const fn key(name: &'static str, form: Shape, doc: &'static str) -> KeySpec {
    KeySpec { name, form, doc, presence: KeyPresence::Optional }
}

/// Reads the conditions for the head of a request: `header`, `cookie` and `query`.
pub(super) fn of_head(context: &mut Context<'_>, reader: &Reader<'_>) -> Vec<Predicate> {
    let mut all = Vec::new();
    for named in named(context, reader, "header") {
        let name = value::header_name(context, named.name, named.span);
        if let (Some(name), Some(found)) = (name, alternatives(context, &named)) {
            all.push(any(found.into_iter().map(|m| Predicate::Header(name.clone(), m)).collect()));
        }
    }
    for named in named(context, reader, "cookie") {
        let is_valid = value::token(context, named.name, named.span);
        if let (true, Some(found)) = (is_valid, alternatives(context, &named)) {
            all.push(any(found.into_iter().map(|m| Predicate::Cookie(named.name.to_owned(), m)).collect()));
        }
    }
    for named in named(context, reader, "query") {
        if let Some(found) = alternatives(context, &named) {
            all.push(any(found.into_iter().map(|m| Predicate::Query(named.name.to_owned(), m)).collect()));
        }
    }
    all
}

/// The fields of a client certificate.
pub(super) const CLIENT_CERT: TableSpec = TableSpec {
    title: "client_cert",
    doc: "The client's verified certificate (see `client_auth` of the listener).",
    keys: &[
        key("cn", COMPARED, "Common name of the subject."),
        key("dns", COMPARED, "One of the DNS names."),
        key("uri", COMPARED, "One of the URIs, such as a SPIFFE ID."),
        key("email", COMPARED, "One of the email addresses."),
    ],
    later: &[],
};

/// Reads `client_cert`.
fn of_certificate(context: &mut Context<'_>, reader: &Reader<'_>) -> Vec<Predicate> {
    let Some(item) = reader.get("client_cert") else { return Vec::new() };
    identity_warnings::warn_no_client_auth(context, item.span(), "this never matches");
    let Some(reader) = item.table(context, &CLIENT_CERT) else { return Vec::new() };
    let (mut all, mut named) = (Vec::new(), false);
    for field in CertField::ALL {
        let Some(item) = reader.get(field.name()) else { continue };
        named = true;
        let (name, span) = (field.name(), reader.place(field.name()));
        if let Some(found) = alternatives(context, &Named { name, span, item }) {
            all.push(any(found.into_iter().map(|m| Predicate::ClientCert(field, m)).collect()));
        }
    }
    let errors = context.errors();
    reader.finish(context);
    if !named && errors == context.errors() {
        item.refuse(context, "empty-list", "`client_cert` is empty");
    }
    all
}

/// Reads the conditions for the caller: `tenant`, `user`, `cidr`, `jwt`, `country` and `client_cert`.
pub(super) fn of_caller(context: &mut Context<'_>, reader: &Reader<'_>) -> Vec<Predicate> {
    let mut all = Vec::new();
    if let Some(item) = reader.get("tenant") {
        identity_warnings::warn_unread(context, "tenant", item.span(), "this never matches");
        all.extend(tenants::list(context, &item).map(Predicate::Tenant));
    }
    if let Some(item) = reader.get("user") {
        identity_warnings::warn_unread(context, "user", item.span(), "this never matches");
        all.extend(tenants::list(context, &item).map(Predicate::User));
    }
    if let Some(item) = reader.get("cidr") {
        let items = item.not_empty(context);
        let nets: Vec<_> = items.iter().filter_map(|item| value::network(context, item)).collect();
        if !nets.is_empty() {
            all.push(Predicate::Cidr(nets));
        }
    }
    for named in named(context, reader, "jwt") {
        let name = claim(context, named.name, named.span);
        if let (Some(name), Some(found)) = (name, alternatives(context, &named)) {
            all.push(any(found.into_iter().map(|m| Predicate::Claim(name.clone(), m)).collect()));
        }
    }
    if let Some(item) = reader.get("country") {
        if !context.has_geo {
            let finding = Finding::error("no-database", item.span(), "countries are unknown: there is no database");
            context.report(finding.help("add `geo = { database = \"….mmdb\" }` to `[identity]`"));
        }
        let items = item.not_empty(context);
        let countries: Vec<_> = items.iter().filter_map(|item| country(context, item)).collect();
        if !countries.is_empty() {
            all.push(Predicate::Country(countries));
        }
    }
    all.extend(of_certificate(context, reader));
    all
}

/// A country by its code.
pub(in crate::config) fn country(context: &mut Context<'_>, item: &Item<'_>) -> Option<Country> {
    let text = item.text(context)?;
    let parsed = Country::new(&text).filter(|country| country.code() == &*text);
    if parsed.is_none() {
        let finding = Finding::error("bad-country", text.span, format!("`{}` is not a country code", &*text));
        context.report(finding.help("write two capital letters, such as `DE` (ISO 3166-1)"));
    }
    parsed
}

/// The name of a claim; reports an error if no tokens are verified.
pub(super) fn claim(context: &mut Context<'_>, name: &str, at: Span) -> Option<String> {
    if !context.has_jwt {
        let message = format!("the claim `{name}` is never known: there are no keys to verify tokens");
        let finding = Finding::error("no-keys", at, message);
        context.report(finding.help("add `jwt = { keys = \"….json\" }` to `[identity]`"));
    }
    if name.is_empty() {
        context.report(Finding::error("empty-name", at, "the name of the claim is empty"));
        return None;
    }
    Some(name.to_owned())
}

fn named<'d>(context: &mut Context<'_>, reader: &Reader<'d>, key: &'static str) -> Vec<Named<'d>> {
    let Some(item) = reader.get(key) else { return Vec::new() };
    let all = item.map(context);
    if all.is_empty() && item.is_table() {
        item.refuse(context, "empty-list", format!("`{key}` is empty"));
    }
    all
}

fn any(mut all: Vec<Predicate>) -> Predicate {
    match all.pop() {
        Some(only) if all.is_empty() => only,
        Some(last) => {
            all.push(last);
            Predicate::Any(all)
        }
        None => Predicate::Any(all),
    }
}

fn alternatives(context: &mut Context<'_>, named: &Named<'_>) -> Option<Vec<StringMatch>> {
    let items = named.item.not_empty(context);
    let count = items.len();
    let all: Vec<_> = items.iter().filter_map(|item| string_match(context, item)).collect();
    (count > 0 && all.len() == count).then_some(all)
}

fn string_match(context: &mut Context<'_>, item: &Item<'_>) -> Option<StringMatch> {
    if item.is_text() {
        return item.text(context).map(|text| StringMatch::Exact(text.to_string()));
    }
    if !item.is_table() {
        item.mismatch(context, "a string, or one of `{ regex = … }`, `{ prefix = … }`, `{ present = … }`");
        return None;
    }
    let reader = item.table(context, &STRING_MATCH)?;
    let regex = reader.text(context, "regex");
    let prefix = reader.text(context, "prefix");
    let present = reader.get("present").and_then(|item| item.boolean(context));
    let before = context.errors();
    reader.finish(context);
    match (regex, prefix, present) {
        (Some(text), None, None) => value::regex(context, &text).map(StringMatch::Regex),
        (None, Some(text), None) => Some(StringMatch::Prefix(text.to_string())),
        (None, None, Some(present)) => Some(StringMatch::Present(present)),
        _ => {
            if before == context.errors() {
                let finding =
                    Finding::error("ambiguous", item.span(), "exactly one key must say how the value is compared");
                context.report(finding.help("write `{ regex = … }`, `{ prefix = … }` or `{ present = … }`"));
            }
            None
        }
    }
}
