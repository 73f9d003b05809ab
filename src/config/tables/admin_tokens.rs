//! The file of `admin.tokens`: names, roles, and SHA-256 of tokens. The file is watched. A token that has expired is a
//! warning, never an error: a date must not stop a start or a reload.
//!
//! Diagnostics never show what may be a token or its hash: lines of this file and messages about it are covered.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ahash::HashMap;

use crate::clock::Clock;
use crate::config::read;
use crate::config::toml::applied_files::FileUse;
use crate::config::toml::context::Context;
use crate::config::toml::covered::covered;
use crate::config::toml::diagnostic::Finding;
use crate::config::toml::document::{Document, Value};
use crate::config::toml::item::Item;
use crate::config::toml::reader::Reader;
use crate::config::toml::source::{Source, Span, visible};
use crate::config::toml::spanned_string::SpannedString;
use crate::config::toml::spec::{Shape, TableSpec, optional, required};
use crate::config::toml::suggest::did_you_mean;
use crate::config::toml::value;
use crate::route::{AdminRole, AdminToken, TokenList};
use crate::tls;

/// The most tokens.
const TOKENS_MAX: usize = 10_000;

/// The longest name of a token, in bytes.
const NAME_BYTES_MAX: usize = 128;

/// The keys whose values messages may show.
const SHOWN_KEYS: [&str; 3] = ["name", "roles", "expires"];

/// How to make a token.
const HOW: &str =
    "`pointsman token new NAME --role operator` prints a new token once, and its lines for the tokens file";

/// The file.
const TOKENS: TableSpec = TableSpec {
    title: "the tokens file",
    doc: "Tokens of the admin listener.",
    keys: &[optional("token", Shape::Tables(&TOKEN), "The tokens.")],
    later: &[],
};

/// `[[token]]`.
const TOKEN: TableSpec = TableSpec {
    title: "[[token]]",
    doc: "A token of the admin listener.",
    keys: &[
        required("name", Shape::Text, "Who acts with it, in the journal; unique."),
        required("roles", Shape::OneOrMore(&Shape::Text), "What it permits."),
        required("sha256", Shape::Text, "SHA-256 of the token, in hex."),
        optional("expires", Shape::Text, "Date, or date and time, from which on it is refused."),
    ],
    later: &[],
};

/// The tokens so far.
#[derive(Default)]
struct KnownTokens {
    tokens: Vec<AdminToken>,
    names: HashMap<String, Span>,
    hashes: HashMap<[u8; 32], Span>,
}

/// Reads the file that `tokens` names.
pub(in crate::config) fn tokens(context: &mut Context<'_>, item: &Item<'_>) -> Option<TokenList> {
    let written = item.shown_text(context)?;
    let path = context.beside(written.span.file, &written);
    let text = read_text(context, &written, &path)?;
    let name: Arc<str> = path.to_string_lossy().into();
    let covered = covered(&text, &SHOWN_KEYS);
    let file = context.files.add(Source { name, text: covered.as_str().into() });
    context.has_secrets.push(file);
    let document = parse(context, file, &text, &covered)?;
    let errors = context.errors();
    let reader = Reader::root(&document, &TOKENS);
    let tables = reader.tables(context, "token", &TOKEN);
    reader.finish(context);
    if let (true, Some(first)) = (tables.len() > TOKENS_MAX, tables.get(TOKENS_MAX)) {
        let message = format!("there are {} tokens; at most {TOKENS_MAX} are supported", tables.len());
        context.report(Finding::error("too-many", first.span(), message));
        return None;
    }
    if tables.is_empty() && errors == context.errors() {
        let message = format!("`{}` has no `[[token]]`: every request with a token is refused", path.display());
        context.report(Finding::warning("no-token", written.span, message).help(HOW));
    }
    let mut known = KnownTokens::default();
    for table in &tables {
        token(context, table, &text, &mut known);
    }
    Some(known.tokens.into_iter().collect())
}

fn read_text(context: &mut Context<'_>, written: &SpannedString<'_>, path: &Path) -> Option<String> {
    context.watch(path);
    let bytes = match read::opened(context, FileUse::Tokens, path) {
        Ok(bytes) => bytes,
        Err(error) => {
            let message = format!("cannot read `{}`: {error}", path.display());
            let finding = Finding::error("unreadable", written.span, message);
            context.report(finding.help(format!("the path is relative to the file that names it; {HOW}")));
            return None;
        }
    };
    // The digest instead of the bytes, as for keys: the hash of the configuration is public.
    context.depend(tls::sha256_hex(&bytes).as_bytes());
    match String::from_utf8(bytes) {
        Ok(text) => Some(text),
        Err(error) => {
            let at = error.utf8_error().valid_up_to();
            let line = memchr::memchr_iter(b'\n', &error.as_bytes()[..at]).count() + 1;
            let message = format!("`{}` is not UTF-8 at line {line} (byte {at})", path.display());
            context.report(Finding::error("not-utf8", written.span, message).help("save the file as UTF-8"));
            None
        }
    }
}

/// Parses the file. Help for a syntax error repeats what is written, so that it must come from the covered text.
fn parse<'t>(context: &mut Context<'_>, file: u16, text: &'t str, covered: &str) -> Option<Document<'t>> {
    let mut unseen = Context::new(&|_| None, context.last_good);
    let document = Document::parse(&mut unseen, &TOKENS, file, text);
    if document.is_none() && Document::parse(context, &TOKENS, file, covered).is_some() {
        context.report(Finding::error("syntax", Span::whole(file), "this is not TOML").help(HOW));
    }
    document
}

/// Reads one token; adds it unless it has errors.
fn token(context: &mut Context<'_>, reader: &Reader<'_>, text: &str, known: &mut KnownTokens) {
    let errors = context.errors();
    let name = reader.require(context, "name").and_then(|item| item.shown_text(context));
    let roles = reader.require(context, "roles").map(|item| roles(context, &item)).unwrap_or_default();
    let sha256 = reader.require(context, "sha256").and_then(|item| Some((hash(context, &item)?, item.span())));
    let expires_at = reader.get("expires").and_then(|item| expires(context, &item, text));
    reader.finish(context);
    if let Some(name) = &name {
        check_name(context, name, known);
    }
    if let Some((sha256, at)) = sha256
        && let Some(first) = known.hashes.insert(sha256, at)
    {
        let finding = Finding::error("duplicate-token", at, "two entries are the same token").label("and again here");
        context.report(finding.also(first, "first here").help(format!("every holder needs a token: {HOW}")));
    }
    let (Some(name), Some((sha256, _))) = (name, sha256) else { return };
    if context.errors() > errors {
        return;
    }
    let token = AdminToken { name: name.to_string(), roles: roles.into_iter().collect(), sha256, expires_at };
    if token.is_expired(Clock.wall()) {
        let message = format!("token `{}` has expired: requests with it are refused", name.shown());
        context.report(Finding::warning("token-expired", reader.place("expires"), message).help(HOW));
    }
    known.tokens.push(token);
}

/// Checks a name; it stands in the journal and in logs.
fn check_name(context: &mut Context<'_>, name: &SpannedString<'_>, known: &mut KnownTokens) {
    let is_plain = name.chars().all(|c| visible(c) == c) && name.trim() == &**name;
    if name.is_empty() || name.len() > NAME_BYTES_MAX || !is_plain {
        let message = format!(
            "this is not the name of a token: names have 1 to {NAME_BYTES_MAX} bytes, and no control characters"
        );
        context.report(Finding::error("bad-token-name", name.span, message).help("write `name = \"ana\"`"));
    } else if let Some(first) = known.names.insert(name.to_string(), name.span) {
        let message = format!("two tokens have the name `{}`", name.shown());
        let finding = Finding::error("duplicate-name", name.span, message).label("and again here");
        context.report(finding.also(first, "first here"));
    }
}

fn roles(context: &mut Context<'_>, item: &Item<'_>) -> Vec<AdminRole> {
    const ROLES: &str = "the roles are `viewer`, `operator`, `approver:ROLE`, `flags`, `outcomes` and `metrics`";
    let items = item.one_or_more();
    if items.is_empty() {
        let finding = Finding::error("no-role", item.span(), "`roles` is empty: the token would permit nothing");
        context.report(finding.help(ROLES));
    }
    value::parse_unique(context, &items, |context, item| {
        let text = item.text(context)?;
        let role = AdminRole::parse(&text);
        if role.is_none() {
            let message = format!("`{}` is not a role", text.shown());
            let help = if text.starts_with("approver") {
                "write `approver:ROLE`, such as `approver:tech-lead`".to_owned()
            } else {
                did_you_mean(&text, AdminRole::WORDS.into_iter()).unwrap_or_else(|| ROLES.to_owned())
            };
            context.report(Finding::error("unknown-role", text.span, message).help(help));
        }
        role
    })
}

/// SHA-256 in hex. The message does not repeat the value: it may be the token itself.
fn hash(context: &mut Context<'_>, item: &Item<'_>) -> Option<[u8; 32]> {
    if !item.is_text() {
        item.mismatch_with_help(context, "a string", HOW);
        return None;
    }
    let text = item.text(context)?;
    let mut bytes = [0; 32];
    let digits = text.as_bytes();
    let is_hex = digits.len() == 64 && digits.iter().all(u8::is_ascii_hexdigit);
    if is_hex {
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            let digit = |at: usize| pair.get(at).and_then(|b| char::from(*b).to_digit(16)).unwrap_or(0);
            *byte = u8::try_from(digit(0) << 4 | digit(1)).unwrap_or(0);
        }
        return Some(bytes);
    }
    let message = "`sha256` is not 64 hex digits; the token itself never stands in this file";
    context.report(Finding::error("bad-token-hash", text.span, message).help(HOW));
    None
}

/// When a token expires, since the Unix epoch. A date includes its day; times without an offset are in UTC.
fn expires(context: &mut Context<'_>, item: &Item<'_>, text: &str) -> Option<Duration> {
    const HELP: &str = "write `expires = 2027-06-30`, or `expires = 2027-06-30T12:00:00Z`, without quotes";
    if !matches!(item.node.value, Value::Datetime) {
        item.mismatch_with_help(context, "a date", HELP);
        return None;
    }
    let at = item.span();
    let written = text.get(at.start as usize..at.end as usize).unwrap_or_default();
    let instant = instant(written);
    if instant.is_none() {
        let message = "this is neither a date nor a date with a time";
        context.report(Finding::error("bad-date", at, message).help(HELP));
    }
    // A time before 1970 has expired as well.
    instant.map(|instant| Duration::from_millis(u64::try_from(instant.as_millisecond()).unwrap_or(0)))
}

fn instant(written: &str) -> Option<jiff::Timestamp> {
    let utc = |at: jiff::civil::DateTime| jiff::tz::Offset::UTC.to_timestamp(at).ok();
    if let (10, Ok(date)) = (written.len(), written.parse::<jiff::civil::Date>()) {
        return utc(date.tomorrow().ok()?.at(0, 0, 0, 0));
    }
    // A time alone is no date; it has no `-` before its offset.
    if !written.get(..10)?.contains('-') {
        return None;
    }
    written.parse::<jiff::Timestamp>().ok().or_else(|| utc(written.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_end_with_their_day() {
        for (written, expected) in [
            ("1970-01-01", Some(86_400)),
            ("1970-01-02T00:00:01Z", Some(86_401)),
            ("1970-01-02 00:00:01Z", Some(86_401)),
            ("1970-01-02T01:00:01+01:00", Some(86_401)),
            ("1970-01-02T00:00:01", Some(86_401)),
            ("07:32:00", None),
            ("1970-02-30", None),
            ("", None),
        ] {
            assert_eq!(instant(written).map(jiff::Timestamp::as_second), expected, "{written}");
        }
    }
}
