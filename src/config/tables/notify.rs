//! `[notify]`, and `notify` of a rollout: who is notified.

use std::time::Duration;

use super::client_tls::{self, NOTIFY_TLS, Owner, SystemRoots};
use super::http_target::{self, DurationBounds, TIMEOUT, TIMEOUT_KEY};
use super::known_rollouts::KnownRollouts;
use super::receiver_url::{ReceiverUrl, receiver_url};
use crate::config::toml::context::Context;
use crate::config::toml::diagnostic::Finding;
use crate::config::toml::item::Item;
use crate::config::toml::reader::Reader;
use crate::config::toml::source::Span;
use crate::config::toml::spec::{KeySpec, Shape, TableSpec, optional};
use crate::route::{ClientTls, HttpTarget, Notify, NotifySecret, Receiver, ReceiverKind};
use crate::tls;

/// The most receivers of a file.
const RECEIVERS_MAX: usize = 100;

/// The least length of a secret, in bytes.
const SECRET_BYTES_MIN: usize = 16;

/// The longest secret, in bytes.
const SECRET_BYTES_MAX: usize = 4_096;

/// `[notify]`.
pub(in crate::config) const NOTIFY: TableSpec = TableSpec {
    title: "[notify]",
    doc: "Who is notified: of all rollouts, and of what concerns the proxy as a whole.",
    keys: &[
        optional(
            "to",
            Shape::OneOrMore(&Shape::Text),
            "Receivers of every message, as `KIND:URL`: `webhook:https://…` gets JSON with all facts, \
             `slack:https://hooks.slack.com/services/…` a text, `alertmanager:http://…:9093` alerts. A user and a password \
             before the host are sent as basic authentication.",
        ),
        optional(
            "secret",
            Shape::Text,
            "What messages to webhooks are signed with, at least 16 bytes, such as `${HOOK_SECRET}`.",
        ),
        TIMEOUT_KEY,
        optional("tls", Shape::Table(&NOTIFY_TLS), "How `https://` receivers are verified."),
    ],
    later: &[],
};

/// `notify` of a rollout.
pub(super) const NOTIFY_KEY: KeySpec = optional(
    "notify",
    Shape::OneOrMore(&Shape::Text),
    "Receivers of messages about this rollout, as in `[notify] to`, whose receivers get them too.",
);

/// A receiver, with its place.
struct ReadReceiver {
    found: ReceiverUrl,
    at: Span,
}

/// The receivers of all tables, each once.
pub(in crate::config) struct Receivers {
    all: Vec<ReadReceiver>,
    /// `[notify] to`.
    to: Vec<String>,
}

/// Reads `[notify] to`.
pub(in crate::config) fn receivers(context: &mut Context<'_>, reader: Option<&Reader<'_>>) -> Receivers {
    let mut receivers = Receivers { all: Vec::new(), to: Vec::new() };
    receivers.to = receivers.read(context, reader.and_then(|reader| reader.get("to")));
    receivers
}

impl Receivers {
    /// Reads a list of receivers: their ids.
    pub(super) fn read(&mut self, context: &mut Context<'_>, list: Option<Item<'_>>) -> Vec<String> {
        let mut ids: Vec<String> = Vec::new();
        for item in list.map(|item| item.one_or_more()).unwrap_or_default() {
            let Some(text) = item.text(context) else { continue };
            match receiver_url(&text) {
                Ok(found) if ids.contains(&found.id) => {
                    item.refuse(context, "duplicate-key", "this receiver is listed twice");
                }
                Ok(found) => {
                    ids.push(found.id.clone());
                    self.add(context, ReadReceiver { found, at: text.span });
                }
                Err((message, help)) => {
                    context.report(Finding::error("bad-receiver", text.span, message).help(help));
                }
            }
        }
        ids
    }

    fn add(&mut self, context: &mut Context<'_>, one: ReadReceiver) {
        if self.all.iter().any(|known| known.found.id == one.found.id) {
            return;
        }
        if self.all.len() == RECEIVERS_MAX {
            let message = format!("there are more than {RECEIVERS_MAX} receivers");
            context.report(Finding::error("too-many", one.at, message).help("let one program pass messages on"));
        }
        if self.all.len() > RECEIVERS_MAX {
            return;
        }
        if one.found.is_exposed() {
            let message = "credentials for this receiver are sent in clear text";
            context.report(Finding::warning("clear-text", one.at, message).help("write `https://`"));
        }
        self.all.push(one);
    }

    /// Compiles the receivers and the other keys of `[notify]`.
    pub(in crate::config) fn compile(
        self,
        context: &mut Context<'_>,
        reader: Option<&Reader<'_>>,
        system: &mut SystemRoots,
    ) -> Notify {
        let secret = reader.and_then(|reader| secret(context, reader));
        let timeout = reader.and_then(|reader| timeout(context, reader)).unwrap_or(TIMEOUT);
        let tls = self.tls(context, reader, system);
        if let Some(reader) = reader {
            reader.finish(context);
            self.warn_of_no_effect(context, reader);
        }
        if let (Some(first), None) = (self.webhook(), reader.filter(|reader| reader.get("secret").is_some())) {
            let message = "messages to this webhook are not signed, so it cannot know who sends them";
            let help = "add `secret = \"${HOOK_SECRET}\"` to `[notify]`";
            context.report(Finding::warning("unsigned", first.at, message).help(help));
        }
        // A host that comes from the environment is shown as it is written.
        let masks = context.variables.masks();
        let mut receivers: Vec<Receiver> = Vec::with_capacity(self.all.len());
        let mut names: Vec<String> = Vec::with_capacity(self.all.len());
        for ReadReceiver { found, .. } in self.all {
            let base = masks.cover_configured(&found.name()).into_owned();
            let before = names.iter().filter(|known| **known == base).count();
            let name = if before == 0 { base.clone() } else { format!("{base}#{}", before + 1) };
            names.push(base);
            receivers.push(receiver(found, name, Connection { tls: tls.clone(), timeout }));
        }
        debug_assert!(
            self.to.iter().all(|id| context.errors() > 0 || receivers.iter().any(|one| one.id == *id)),
            "every id is that of a receiver"
        );
        Notify { receivers, to: self.to, secret }
    }

    fn webhook(&self) -> Option<&ReadReceiver> {
        self.all.iter().find(|one| one.found.kind == ReceiverKind::Webhook)
    }

    /// The TLS configuration of all `https://` receivers.
    fn tls(
        &self,
        context: &mut Context<'_>,
        reader: Option<&Reader<'_>>,
        system: &mut SystemRoots,
    ) -> Option<ClientTls> {
        let Some(first) = self.all.iter().find(|one| one.found.url.secured) else {
            if let Some(reader) = reader.filter(|reader| reader.get("tls").is_some()) {
                let owner = Owner::notify(reader);
                client_tls::refuse_useless(
                    context,
                    &owner,
                    "has no `https://` receiver",
                    "write `https://host` in `to`",
                );
            }
            return None;
        };
        let Some(reader) = reader else { return client_tls::usual(context, first.at, system) };
        let found = client_tls::tls(context, &Owner::notify(reader), system)?;
        if found.server_name.is_none() {
            for one in self.all.iter().filter(|one| one.found.url.secured && !tls::is_server_name(&one.found.url.host))
            {
                let finding = Finding::error("bad-url", one.at, "no certificate can have the name of this host");
                context.report(finding.help("write a host name or an IP address"));
            }
        }
        Some(found)
    }

    /// Warns of keys that no receiver needs.
    fn warn_of_no_effect(&self, context: &mut Context<'_>, reader: &Reader<'_>) {
        if context.errors() > 0 {
            return;
        }
        if self.all.is_empty() {
            let finding =
                Finding::warning("no-receiver", reader.span(), "`[notify]` has no receiver, so it has no effect");
            context.report(finding.help("add `to = [\"slack:https://…\"]`"));
        } else if reader.get("secret").is_some() && self.webhook().is_none() {
            let message = "no receiver is a webhook, so `secret` has no effect";
            let finding = Finding::warning("useless-key", reader.place("secret"), message);
            context.report(finding.help("remove it, or add `webhook:https://…` to `to`"));
        }
    }
}

/// How receivers are reached.
struct Connection {
    tls: Option<ClientTls>,
    timeout: Duration,
}

fn receiver(found: ReceiverUrl, name: String, by: Connection) -> Receiver {
    let ReceiverUrl { kind, url, authorization, id } = found;
    let headers = authorization.into_iter().map(|value| (http::header::AUTHORIZATION, value)).collect();
    let tls = by.tls.filter(|_| url.secured);
    let target = HttpTarget { host: url.host, port: url.port, path: url.path, tls, headers, timeout: by.timeout };
    Receiver { id, name, kind, target }
}

fn secret(context: &mut Context<'_>, reader: &Reader<'_>) -> Option<NotifySecret> {
    let text = reader.text(context, "secret")?;
    if !(SECRET_BYTES_MIN..=SECRET_BYTES_MAX).contains(&text.len()) {
        let message = format!("`secret` must have {SECRET_BYTES_MIN} to {SECRET_BYTES_MAX} bytes");
        let help = "`openssl rand -hex 32` makes one; write `secret = \"${HOOK_SECRET}\"`, and set the variable to it";
        context.report(Finding::error("bad-secret", text.span, message).help(help));
        return None;
    }
    Some(NotifySecret(text.as_bytes().to_vec()))
}

fn timeout(context: &mut Context<'_>, reader: &Reader<'_>) -> Option<Duration> {
    let bounds = DurationBounds { least: Duration::from_millis(10), most: Duration::from_mins(1), words: "10ms to 1m" };
    http_target::bounded(context, reader, "timeout", &bounds)
}

/// Warns of rollouts without a receiver where others have one.
pub(in crate::config) fn warn_of_unheard(context: &mut Context<'_>, notify: &Notify, rollouts: &KnownRollouts<'_>) {
    if notify.receivers.is_empty() || !notify.to.is_empty() {
        return;
    }
    for (_, one) in rollouts.each().filter(|(_, one)| one.rollout.notify.is_empty()) {
        let name = &one.rollout.name;
        let message = format!("rollout `{name}` has no receiver of notifications, and others of this file have");
        let help = "add `notify = [\"KIND:URL\"]` to it, or `[notify]` with `to` for all rollouts";
        context.report(Finding::warning("no-receiver", one.name_at, message).help(help));
    }
}
