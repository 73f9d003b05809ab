//! Warnings for conditions that depend on an identity which requests never have.

use crate::config::toml::context::Context;
use crate::config::toml::diagnostic::Finding;
use crate::config::toml::source::Span;

/// Warns if something depends on a tenant or a user, but `[identity]` does not say where it is read. `consequence` is
/// the first part of the message.
pub(super) fn warn_unread(context: &mut Context<'_>, what: &'static str, at: Span, consequence: &str) {
    if context.identified.contains(&what) {
        return;
    }
    let message = format!("{consequence}: `[identity]` does not say where the {what} is read");
    let finding = Finding::warning("no-extractor", at, message);
    context.report(finding.help(how_to_read(what)));
}

/// Warns if something depends on a client certificate, but no listener requests one. If there are errors, there is no
/// warning: the listener may be missing because of one of them.
pub(super) fn warn_no_client_auth(context: &mut Context<'_>, at: Span, consequence: &str) {
    if context.errors() > 0 || context.identified.contains(&"client_cert") {
        return;
    }
    let message = format!("{consequence}: no listener requests client certificates");
    let finding = Finding::warning("no-client-auth", at, message);
    context.report(finding.help("add `client_auth = { ca = \"….pem\", mode = \"request\" }` to `[listener.tls]`"));
}

/// Help that says how to read a tenant or a user.
pub(super) fn how_to_read(what: &str) -> String {
    let (header, cookie) = if what == "tenant" { ("x-tenant-id", "tenant") } else { ("x-user-id", "uid") };
    format!("add `{what} = [\"header:{header}\", \"cookie:{cookie}\"]` to `[identity]`, or another place that has it")
}
