//! `tls` of upstreams, traces, Prometheus and webhooks: how `https://` servers are verified, and which client
//! certificate they get.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::clock::Clock;
use crate::config::read;
use crate::config::toml::applied_files::FileUse;
use crate::config::toml::context::Context;
use crate::config::toml::diagnostic::Finding;
use crate::config::toml::reader::Reader;
use crate::config::toml::source::Span;
use crate::config::toml::spanned_string::SpannedString;
use crate::config::toml::spec::{KeySpec, Shape, TableSpec, optional, required};
use crate::route::{ClientCert, ClientTls};
use crate::tls::{self, CertificateError};

/// `[upstream.NAME.tls]`.
pub(super) const UPSTREAM_TLS: TableSpec = TableSpec {
    title: "[upstream.NAME.tls]",
    doc: "How `https://` endpoints are verified, and which client certificate they get.",
    keys: &[CA, SERVER_NAME, optional(CLIENT_CERT, Shape::Table(&UPSTREAM_CERT), CLIENT_CERT_DOC)],
    later: &[],
};

/// `[traces.tls]`.
pub(super) const TRACES_TLS: TableSpec = TableSpec {
    title: "[traces.tls]",
    doc: "How an `https://` collector is verified, and which client certificate it gets.",
    keys: &[CA, SERVER_NAME, optional(CLIENT_CERT, Shape::Table(&TRACES_CERT), CLIENT_CERT_DOC)],
    later: &[],
};

/// `[prometheus.tls]`.
pub(super) const PROMETHEUS_TLS: TableSpec = TableSpec {
    title: "[prometheus.tls]",
    doc: "How an `https://` Prometheus is verified, and which client certificate it gets.",
    keys: &[CA, SERVER_NAME, optional(CLIENT_CERT, Shape::Table(&PROMETHEUS_CERT), CLIENT_CERT_DOC)],
    later: &[],
};

/// `[notify.tls]`.
pub(super) const NOTIFY_TLS: TableSpec = TableSpec {
    title: "[notify.tls]",
    doc: "How `https://` receivers are verified, and which client certificate they get.",
    keys: &[CA, SERVER_NAME, optional(CLIENT_CERT, Shape::Table(&NOTIFY_CERT), CLIENT_CERT_DOC)],
    later: &[],
};

/// `tls` of a webhook.
pub(super) const WEBHOOK_TLS: TableSpec = TableSpec {
    title: "[rollout.NAME.stage.gate.webhook.tls]",
    doc: "How an `https://` webhook is verified, and which client certificate it gets.",
    keys: &[CA, SERVER_NAME, optional(CLIENT_CERT, Shape::Table(&WEBHOOK_CERT), CLIENT_CERT_DOC)],
    later: &[],
};

const CA: KeySpec = optional(
    "ca",
    Shape::Text,
    "PEM file with the trusted authorities (CA certificates); default: the root certificates of the system.",
);
const SERVER_NAME: KeySpec = optional(
    "server_name",
    Shape::Text,
    "Name that the server's certificate must be valid for, also sent as SNI; default: the host of the URL.",
);
const CLIENT_CERT: &str = "client_cert";
const CLIENT_CERT_DOC: &str = "Client certificate for servers that request one; none by default.";
const UPSTREAM_CERT: TableSpec = pair("[upstream.NAME.tls.client_cert]");
const TRACES_CERT: TableSpec = pair("[traces.tls.client_cert]");
const PROMETHEUS_CERT: TableSpec = pair("[prometheus.tls.client_cert]");
const NOTIFY_CERT: TableSpec = pair("[notify.tls.client_cert]");
const WEBHOOK_CERT: TableSpec = pair("[rollout.NAME.stage.gate.webhook.tls.client_cert]");
const PAIR: &[KeySpec] = &[
    required("cert", Shape::Text, "PEM file with the certificate, followed by its chain."),
    required("key", Shape::Text, "PEM file with the private key of the certificate."),
];

const fn pair(title: &'static str) -> TableSpec {
    TableSpec {
        title,
        doc: "A certificate and its key, as PEM files; both are watched for changes.",
        keys: PAIR,
        later: &[],
    }
}

/// The owner of a `tls` table.
pub(in crate::config) struct Owner<'a, 'd> {
    reader: &'a Reader<'d>,
    /// The key with the `https://` URLs.
    urls: &'static str,
    tls: &'static TableSpec,
    cert: &'static TableSpec,
    name: &'d str,
}

impl<'a, 'd> Owner<'a, 'd> {
    /// The upstream with this name.
    pub(in crate::config) const fn upstream(reader: &'a Reader<'d>, name: &'d str) -> Self {
        Self { reader, urls: "endpoints", tls: &UPSTREAM_TLS, cert: &UPSTREAM_CERT, name }
    }

    /// The collector of spans.
    pub(in crate::config) const fn traces(reader: &'a Reader<'d>) -> Self {
        Self { reader, urls: "otlp", tls: &TRACES_TLS, cert: &TRACES_CERT, name: "" }
    }

    /// Prometheus.
    pub(in crate::config) const fn prometheus(reader: &'a Reader<'d>) -> Self {
        Self { reader, urls: "url", tls: &PROMETHEUS_TLS, cert: &PROMETHEUS_CERT, name: "" }
    }

    /// The receivers of notifications.
    pub(in crate::config) const fn notify(reader: &'a Reader<'d>) -> Self {
        Self { reader, urls: "to", tls: &NOTIFY_TLS, cert: &NOTIFY_CERT, name: "" }
    }

    /// The webhook of a gate of this rollout.
    pub(in crate::config) const fn webhook(reader: &'a Reader<'d>, rollout: &'d str) -> Self {
        Self { reader, urls: "url", tls: &WEBHOOK_TLS, cert: &WEBHOOK_CERT, name: rollout }
    }

    /// The table with the URLs.
    pub(in crate::config) const fn reader(&self) -> &'a Reader<'d> {
        self.reader
    }
}

/// The root certificates of the system, read when they are first needed.
#[derive(Default)]
pub(in crate::config) struct SystemRoots(Option<Arc<[Vec<u8>]>>);

/// Reads `tls`. To be called if at least one URL needs it.
pub(in crate::config) fn tls(
    context: &mut Context<'_>,
    owner: &Owner<'_, '_>,
    system: &mut SystemRoots,
) -> Option<ClientTls> {
    let Owner { reader, urls, tls: spec, cert: cert_spec, name } = owner;
    let Some(table) = reader.table(context, "tls", spec) else {
        let roots = system_roots(context, reader.place(urls), system)?;
        return Some(ClientTls { roots, server_name: None, client_cert: None });
    };
    let table = table.with_name(name);
    let ca = table.shown_text(context, "ca");
    let server_name = table.shown_text(context, "server_name");
    if let Some(text) = server_name.as_ref().filter(|text| !tls::is_server_name(text)) {
        let finding = Finding::error("bad-server-name", text.span, format!("`{}` is not a valid server name", &**text));
        context.report(finding.help("write a host name or an IP address, without a port"));
    }
    let client_cert = table.table(context, CLIENT_CERT, cert_spec).map(|pair| {
        let pair = pair.with_name(name);
        let cert = pair.require(context, "cert").and_then(|item| item.shown_text(context));
        let key = pair.require(context, "key").and_then(|item| item.shown_text(context));
        pair.finish(context);
        client_cert(context, &cert?, &key?)
    });
    table.finish(context);
    let roots = match &ca {
        Some(text) => roots_from_file(context, text),
        None => system_roots(context, reader.place(urls), system),
    };
    let server_name = server_name.map(|text| text.to_string());
    Some(ClientTls { roots: roots?, server_name, client_cert: client_cert.map_or(Some(None), |cert| cert.map(Some))? })
}

/// The usual configuration, for a URL at this place: the roots of the system.
pub(super) fn usual(context: &mut Context<'_>, at: Span, system: &mut SystemRoots) -> Option<ClientTls> {
    Some(ClientTls { roots: system_roots(context, at, system)?, server_name: None, client_cert: None })
}

/// Refuses a `tls` table that no URL needs.
pub(super) fn refuse_useless(context: &mut Context<'_>, owner: &Owner<'_, '_>, what: &str, help: &'static str) {
    let message = format!("{} {what}, so `tls` has no effect", owner.reader.title());
    context.report(Finding::error("useless-key", owner.reader.place("tls"), message).help(help));
}

fn system_roots(context: &mut Context<'_>, at: Span, system: &mut SystemRoots) -> Option<Arc<[Vec<u8>]>> {
    if system.0.is_none() {
        for place in tls::system_root_paths() {
            context.watch(&place);
        }
        match tls::system_roots() {
            Ok(roots) => {
                for root in &roots {
                    context.depend(root);
                }
                system.0 = Some(roots.into());
            }
            Err(error) => report(context, at, "this system", &error),
        }
    }
    system.0.clone()
}

fn roots_from_file(context: &mut Context<'_>, text: &SpannedString<'_>) -> Option<Arc<[Vec<u8>]>> {
    let (path, bytes) = file(context, text)?;
    // Also as a root store: a certificate that cannot be a root is an error here, not at the first connection.
    let read = tls::roots(&bytes).and_then(|_| tls::certificates(&bytes));
    match read {
        Ok(found) => Some(found.iter().map(|der| der.to_vec()).collect()),
        Err(error) => {
            report(context, text.span, &format!("`{}`", path.display()), &error);
            None
        }
    }
}

fn client_cert(context: &mut Context<'_>, cert: &SpannedString<'_>, key: &SpannedString<'_>) -> Option<ClientCert> {
    let (chain_file, key_file) = (file(context, cert), file(context, key));
    let ((chain_path, chain), (key_path, key_bytes)) = (chain_file?, key_file?);
    match tls::Certificate::read(&chain, &key_bytes) {
        Ok((certificate, _)) => {
            if let Some(error) = certificate.validity_problem(Clock.wall()) {
                let message = format!("`{}` {}", chain_path.display(), error.problem);
                context.report(Finding::warning(error.code, cert.span, message).help(error.help));
            }
        }
        Err(error) => {
            // Errors of the key are reported at `key`.
            let is_about_key = error.code.contains("key");
            let (at, path) = if is_about_key { (key.span, key_path) } else { (cert.span, chain_path) };
            report(context, at, &format!("`{}`", path.display()), &error);
            return None;
        }
    }
    Some(ClientCert { chain: chain.into(), key: key_bytes.into() })
}

fn report(context: &mut Context<'_>, at: Span, subject: &str, error: &CertificateError) {
    context.report(Finding::error(error.code, at, format!("{subject} {}", error.problem)).help(error.help.clone()));
}

/// Reads and watches a file, relative to the one that names it.
fn file(context: &mut Context<'_>, written: &SpannedString<'_>) -> Option<(PathBuf, Vec<u8>)> {
    let base = context.files.name(written.span.file);
    let path = Path::new(&*base).parent().unwrap_or_else(|| Path::new("")).join(&**written);
    context.watch(&path);
    match read::opened(context, FileUse::Pem, &path) {
        Ok(bytes) => {
            context.depend(&bytes);
            Some((path, bytes))
        }
        Err(error) => {
            let message = format!("cannot read `{}`: {error}", path.display());
            context.report(Finding::error("unreadable", written.span, message));
            None
        }
    }
}
