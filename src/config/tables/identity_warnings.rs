//! Warnings where something depends on an identity that nothing reads.

use crate::config::toml::context::Context;
use crate::config::toml::diagnostic::Finding;
use crate::config::toml::source::Span;

/// Warns where something depends on a tenant or a user, and nothing in `[identity]` says where that one is read.
/// `meaning` says what comes of it.
pub(super) fn warn_unread(context: &mut Context<'_>, what: &'static str, at: Span, meaning: &str) {
    if context.identified.contains(&what) {
        return;
    }
    let message = format!("{meaning}: `[identity]` does not say where the {what} is read");
    let finding = Finding::warning("no-extractor", at, message);
    context.report(finding.help(how_to_read(what)));
}

/// Warns where something depends on the client's certificate, and no listener asks for one. `meaning` says what comes of
/// it. Beside errors nothing is said: a listener may be missing for one of them.
pub(super) fn warn_uncertified(context: &mut Context<'_>, at: Span, meaning: &str) {
    if context.errors() > 0 || context.identified.contains(&"client_cert") {
        return;
    }
    let message = format!("{meaning}: no listener asks clients for a certificate");
    let finding = Finding::warning("no-client-auth", at, message);
    context.report(finding.help("add `client_auth = { ca = \"….pem\", mode = \"request\" }` to `[listener.tls]`"));
}

/// A line for `[identity]` that gives a tenant or a user.
pub(super) fn how_to_read(what: &str) -> String {
    let (header, cookie) = if what == "tenant" { ("x-tenant-id", "tenant") } else { ("x-user-id", "uid") };
    format!(
        "add `{what} = [\"header:{header}\", \"cookie:{cookie}\"]` to `[identity]`, or another place where it stands"
    )
}
