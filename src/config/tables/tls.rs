//! `[listener.tls]` and `[admin.tls]`: the certificates of a listener, and client authentication. Certificates are directories or pairs
//! of files; errors name the file.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::certificate_pairs::{self, CertificatePair, Pem};
use crate::clock::Clock;
use crate::config::read;
use crate::config::toml::applied_files::FileUse;
use crate::config::toml::context::Context;
use crate::config::toml::diagnostic::Finding;
use crate::config::toml::item::Item;
use crate::config::toml::reader::Reader;
use crate::config::toml::source::Span;
use crate::config::toml::spanned_string::SpannedString;
use crate::config::toml::spec::{KeySpec, Shape, TableSpec, default, optional, required};
use crate::route::{ClientAuth, TlsSpec, TlsVersion};
use crate::tls::{self, Authority, Certificate, CertificateError, CertificateSource, ServedCertificate, Server, Stale};

/// `[listener.tls]`.
pub(in crate::config) const TLS: TableSpec = TableSpec {
    title: "[listener.tls]",
    doc: "TLS for clients: HTTP/2 and HTTP/1.1 by ALPN.",
    keys: &keys(&CLIENT_AUTH),
    later: &[],
};

/// `[admin.tls]`.
pub(in crate::config) const ADMIN_TLS: TableSpec =
    TableSpec { title: "[admin.tls]", doc: "TLS for operators.", keys: &keys(&ADMIN_CLIENT_AUTH), later: &[] };

const fn keys(client_auth: &'static TableSpec) -> [KeySpec; 3] {
    [
        required(
            "certificates",
            Shape::OneOrMore(&Shape::Either(&[Shape::Text, Shape::Table(&PAIR)])),
            "Directories, or pairs of a certificate and its key; the first certificate is the default, the others are \
             selected by SNI; they are reloaded when the files change.",
        ),
        optional("client_auth", Shape::Table(client_auth), "Requests certificates from clients; off by default."),
        default("min_version", Shape::Words(&["1.2", "1.3"]), "\"1.2\"", "Oldest TLS version that is accepted."),
    ]
}

/// `{ cert, key }`.
const PAIR: TableSpec = TableSpec {
    title: "a certificate",
    doc: "A certificate with its chain, and its key: paths of PEM files, or PEM text.",
    keys: &[
        required("cert", Shape::Text, "The certificate, followed by its chain."),
        required("key", Shape::Text, "The private key of the certificate."),
    ],
    later: &[],
};

/// `client_auth`.
const CLIENT_AUTH: TableSpec = TableSpec {
    title: "[listener.tls.client_auth]",
    doc: "Requests certificates from clients. Conditions can match a verified certificate as `client_cert`.",
    keys: CLIENT_AUTH_KEYS,
    later: &[],
};

/// `client_auth` of the admin listener.
const ADMIN_CLIENT_AUTH: TableSpec = TableSpec {
    title: "[admin.tls.client_auth]",
    doc: "Requests certificates from operators. The common name of a verified certificate is the name of a token, whose \
          roles it has.",
    keys: CLIENT_AUTH_KEYS,
    later: &[],
};

const CLIENT_AUTH_KEYS: &[KeySpec] = &[
    required("ca", Shape::Text, "PEM file with the authorities (CA certificates) that issue the client certificates."),
    default(
        "mode",
        Shape::Words(&["require", "request"]),
        "\"require\"",
        "`require` refuses clients without a certificate; `request` accepts them without this identity.",
    ),
];

/// Compiles `[listener.tls]` or `[admin.tls]`.
pub(in crate::config) fn tls(
    context: &mut Context<'_>,
    item: &Item<'_>,
    table: &'static TableSpec,
) -> Option<(TlsSpec, Arc<Server>)> {
    let reader = item.table(context, table)?;
    let errors = context.errors();
    let named = reader.require(context, "certificates");
    let presented = named.map(|item| certificates(context, &item)).unwrap_or_default();
    let min_version = match reader.word(context, "min_version") {
        Some(1) => TlsVersion::V13,
        Some(_) | None => TlsVersion::V12,
    };
    let client_auth_table = if table.title == ADMIN_TLS.title { &ADMIN_CLIENT_AUTH } else { &CLIENT_AUTH };
    let named = reader.table(context, "client_auth", client_auth_table);
    let client_auth = named.map(|reader| client_auth(context, &reader));
    reader.finish(context);
    if errors != context.errors() || presented.is_empty() {
        return None;
    }
    let (mode, authority) = client_auth.flatten().unzip();
    let spec = TlsSpec { min_version, client_auth: mode };
    match Server::new(spec, presented, authority) {
        Ok(server) => Some((spec, Arc::new(server))),
        Err(error) => {
            report(context, Finding::error, item.span(), "this TLS", error);
            None
        }
    }
}

fn certificates(context: &mut Context<'_>, item: &Item<'_>) -> Vec<ServedCertificate> {
    let items = item.one_or_more();
    if items.is_empty() {
        item.refuse(context, "empty-list", "`certificates` is empty: the listener needs a certificate");
    }
    let mut all: Vec<ServedCertificate> = Vec::new();
    for item in items {
        if item.is_table() {
            let Some(reader) = item.table(context, &PAIR) else { continue };
            let cert = reader.require(context, "cert").and_then(|item| item.text(context));
            let key = reader.require(context, "key").and_then(|item| item.text(context));
            reader.finish(context);
            if let (Some(cert), Some(key)) = (cert, key) {
                let pair = CertificatePair { cert: pem(context, &cert), key: pem(context, &key) };
                let served = read_pair(context, &pair, cert.span, key.span);
                all.extend(served.inspect(|served| record_in_use(context, &pair, None, served)));
            }
        } else if let Some(text) = item.shown_text(context) {
            directory(context, &text, &mut all);
        }
    }
    warn_duplicates(context, item.span(), &all);
    all
}

/// Reads all pairs of a directory.
fn directory(context: &mut Context<'_>, text: &SpannedString<'_>, all: &mut Vec<ServedCertificate>) {
    let path = resolve(context, text);
    context.watch(&path);
    if !context.may_open(FileUse::PemDirectory, &path) {
        let message = format!("cannot read `{}`: {}", path.display(), read::NOT_APPLIED);
        return context.report(Finding::error("unreadable", text.span, message));
    }
    let in_use = context.last_good.found_in(&path);
    let found = match certificate_pairs::find(&path, &in_use) {
        Ok(found) => found,
        Err(error) if !in_use.is_empty() => {
            let why = format!("cannot be read: {}", read::ReadError::System(error));
            return all.extend(keep_directory(context, &path, text, &in_use, &why));
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotADirectory => {
            let message = format!("`{}` is a file", path.display());
            let finding = Finding::error("not-a-directory", text.span, message);
            context.report(finding.help("name a directory, or write `{ cert = \"…\", key = \"…\" }`"));
            return;
        }
        Err(error) => {
            let message = format!("cannot read `{}`: {}", path.display(), read::ReadError::System(error));
            context.report(Finding::error("unreadable", text.span, message));
            return;
        }
    };
    for directory in &found.directories {
        context.watch(directory);
        context.may_open(FileUse::PemDirectory, directory);
    }
    for key in &found.lone_keys {
        let message = format!("there is no certificate for the key `{}`", key.display());
        let help = "the certificate for `NAME.key` or `NAME-key.pem` is `NAME.crt` or `NAME.pem`, that for `privkey.pem` is \
                    `fullchain.pem`";
        context.report(Finding::warning("lone-key", text.span, message).help(help));
    }
    if found.pairs.is_empty() && found.halves.is_empty() {
        if !in_use.is_empty() {
            let why = "no longer contains a certificate with its key";
            return all.extend(keep_directory(context, &path, text, &in_use, why));
        }
        let message = format!("`{}` contains no certificate with its key", path.display());
        let help = "expected are `NAME.crt` (or `.pem`) with `NAME.key`, or `fullchain.pem` with `privkey.pem`, in the directory \
                    or one level below";
        context.report(Finding::error("no-certificate", text.span, message).help(help));
    }
    let mut served: Vec<(CertificatePair, ServedCertificate)> = Vec::new();
    for pair in found.pairs {
        let one = read_pair(context, &pair, text.span, text.span);
        served.extend(one.map(|one| (pair, one)));
    }
    let complete = served.len();
    for half in found.halves {
        let same_directory =
            served.iter().take(complete).filter(|(pair, _)| directory_of(&pair.cert) == directory_of(&half.cert));
        // A certificate that has another file now is not missing.
        let replaced =
            |before: Arc<Certificate>| same_directory.clone().any(|(_, one)| one.certificate.replaces(&before));
        if !last_good(context, &half).is_some_and(replaced) {
            let one = read_pair(context, &half, text.span, text.span);
            served.extend(one.map(|one| (half, one)));
        }
    }
    // By directory and key: a certificate that lost a file keeps its position, since the first one is the default.
    served.sort_by(|(one, _), (other, _)| {
        (directory_of(&one.key), one.key.path()).cmp(&(directory_of(&other.key), other.key.path()))
    });
    for (pair, one) in served {
        record_in_use(context, &pair, Some(&path), &one);
        all.push(one);
    }
}

fn directory_of(pem: &Pem) -> Option<&Path> {
    pem.path().and_then(Path::parent)
}

/// Keeps all certificates of a directory that is empty or unreadable: without any, the listener could serve no client.
fn keep_directory(
    context: &mut Context<'_>,
    path: &Path,
    text: &SpannedString<'_>,
    in_use: &[CertificateSource],
    why: &str,
) -> Vec<ServedCertificate> {
    let file = Pem::File(path.to_owned());
    let keep = |one: &CertificateSource| {
        let before = Arc::clone(&one.certificate);
        let error = CertificateError { code: "no-certificate", problem: why.to_owned(), help: String::new() };
        let rejected = RejectedFile { at: text.span, file: &file, error };
        let served = keep_last_good(context, &rejected, before, None);
        depend(context, &served);
        context.in_use.add_certificate(one.clone());
        served
    };
    in_use.iter().map(keep).collect()
}

/// Records a served pair, for the fallback of the next load.
fn record_in_use(
    context: &mut Context<'_>,
    pair: &CertificatePair,
    directory: Option<&Path>,
    served: &ServedCertificate,
) {
    depend(context, served);
    if let Some(cert) = pair.cert.path() {
        let (key, directory) = (pair.key.path().map(Path::to_owned), directory.map(Path::to_owned));
        let certificate = Arc::clone(&served.certificate);
        context.in_use.add_certificate(CertificateSource { cert: cert.to_owned(), key, directory, certificate });
    }
}

/// Adds a certificate to the hash: the result depends on the time and on the active certificates, too, not only on
/// files.
fn depend(context: &mut Context<'_>, served: &ServedCertificate) {
    context.depend(served.certificate.fingerprint().as_bytes());
    context.depend(&[u8::from(served.stale.is_some())]);
}

/// The active certificate for a pair.
fn last_good(context: &Context<'_>, pair: &CertificatePair) -> Option<Arc<Certificate>> {
    context.last_good.of(pair.cert.path()?, pair.key.path())
}

/// Reads a pair; if it is invalid or expired, keeps the last good certificate.
fn read_pair(
    context: &mut Context<'_>,
    pair: &CertificatePair,
    cert_at: Span,
    key_at: Span,
) -> Option<ServedCertificate> {
    let now = Clock.wall();
    let chain = contents(context, &pair.cert).and_then(|pem| tls::certificates(&pem));
    let key = contents(context, &pair.key).and_then(|pem| tls::private_key(&pem));
    let read = match (chain, key) {
        (Err(error), _) => Err(RejectedFile { at: cert_at, file: &pair.cert, error }),
        (Ok(_), Err(error)) => Err(RejectedFile { at: key_at, file: &pair.key, error }),
        (Ok(chain), Ok(key)) => {
            Certificate::new(&chain, key).map_err(|error| RejectedFile { at: key_at, file: &pair.key, error })
        }
    };
    let before = last_good(context, pair);
    match (read, before) {
        (Ok((certificate, warnings)), before) => {
            let certificate = Arc::new(certificate);
            let time = certificate.validity_problem(now);
            let expired = !certificate.is_valid_at(now);
            for error in warnings.into_iter().chain(time.clone()) {
                report(context, Finding::warning, cert_at, &pair.cert.to_string(), error);
            }
            if certificate.names().is_empty() {
                let what = "contains a certificate without names (no `subjectAltName`): clients will reject it";
                let message = format!("`{}` {what}", pair.cert);
                context.report(Finding::warning("certificate-without-names", cert_at, message));
            }
            if let (true, Some(before), Some(time)) = (expired, before.filter(|one| one.is_valid_at(now)), time) {
                let valid_from = Some(certificate.begins_at()).filter(|from| now < *from);
                let rejected = RejectedFile { at: cert_at, file: &pair.cert, error: time };
                return Some(keep_last_good(context, &rejected, before, valid_from));
            }
            Some(ServedCertificate { certificate, stale: None })
        }
        (Err(rejected), Some(before)) => {
            let served = keep_last_good(context, &rejected, before, None);
            report(context, Finding::warning, rejected.at, &rejected.file.to_string(), rejected.error);
            Some(served)
        }
        (Err(rejected), None) => {
            report(context, Finding::error, rejected.at, &rejected.file.to_string(), rejected.error);
            None
        }
    }
}

/// A file that cannot be used, and where the configuration names it.
struct RejectedFile<'a> {
    at: Span,
    file: &'a Pem,
    error: CertificateError,
}

/// Serves the last good certificate instead of a rejected one. `until` is when the new one becomes valid by itself.
fn keep_last_good(
    context: &mut Context<'_>,
    rejected: &RejectedFile<'_>,
    before: Arc<Certificate>,
    until: Option<Duration>,
) -> ServedCertificate {
    let RejectedFile { at, file, error } = rejected;
    let message = format!("the last good certificate of `{}` is kept: `{file}` {}", before.label(), error.problem);
    context.report(Finding::warning("certificate-kept", *at, message));
    let stale = Stale { file: file.to_string(), why: error.problem.clone(), until };
    ServedCertificate { certificate: before, stale: Some(stale) }
}

/// Warns of two certificates with the same name and type of key.
fn warn_duplicates(context: &mut Context<'_>, at: Span, all: &[ServedCertificate]) {
    let kind = |one: &ServedCertificate| one.certificate.key().key.algorithm();
    for (place, one) in all.iter().enumerate() {
        let is_duplicate = |other: &&ServedCertificate| {
            kind(other) == kind(one)
                && other.certificate.names().iter().any(|name| one.certificate.names().contains(name))
        };
        if let Some(first) = all[..place].iter().find(is_duplicate) {
            let name = first.certificate.names().iter().find(|name| one.certificate.names().contains(name));
            let message = format!("two certificates have the name `{}`", name.map_or("", String::as_str));
            let help = "clients get the first one; remove the other";
            context.report(Finding::warning("certificate-twice", at, message).help(help));
        }
    }
}

fn client_auth(context: &mut Context<'_>, reader: &Reader<'_>) -> Option<(ClientAuth, Authority)> {
    let mode = match reader.word(context, "mode") {
        Some(1) => ClientAuth::Request,
        Some(_) | None => ClientAuth::Require,
    };
    let text = reader.require(context, "ca").and_then(|item| item.shown_text(context));
    reader.finish(context);
    let text = text?;
    let file = pem(context, &text);
    let read = contents(context, &file).and_then(|pem| Ok((tls::roots(&pem)?, tls::sha256_hex(&pem))));
    let before = file.path().and_then(|path| context.last_good.authority_of(path));
    let authority = match (read, before) {
        (Ok((roots, hash)), _) => Authority { roots: Arc::new(roots), hash },
        (Err(error), Some(before)) => {
            let message = format!("the last good authorities of `{file}` are kept: the file {}", error.problem);
            context.report(Finding::warning("certificate-kept", text.span, message).help(error.help));
            before.clone()
        }
        (Err(error), None) => {
            report(context, Finding::error, text.span, &file.to_string(), error);
            return None;
        }
    };
    if let Some(path) = file.path() {
        context.in_use.add_authority(path, &authority);
    }
    Some((mode, authority))
}

type Make = fn(&'static str, Span, String) -> Finding;

fn report(context: &mut Context<'_>, make: Make, at: Span, file: &str, error: CertificateError) {
    let finding = make(error.code, at, format!("`{file}` {}", error.problem));
    context.report(if error.help.is_empty() { finding } else { finding.help(error.help) });
}

/// Inline PEM, or a path relative to the file that names it.
fn pem(context: &Context<'_>, text: &SpannedString<'_>) -> Pem {
    if text.trim_start().starts_with("-----BEGIN ") {
        Pem::Inline(text.as_bytes().to_vec())
    } else {
        Pem::File(resolve(context, text))
    }
}

fn resolve(context: &Context<'_>, text: &SpannedString<'_>) -> PathBuf {
    context.beside(text.span.file, text)
}

/// Reads PEM; watches its file.
fn contents(context: &mut Context<'_>, pem: &Pem) -> Result<Vec<u8>, CertificateError> {
    let path = match pem {
        Pem::Inline(bytes) => return Ok(bytes.clone()),
        Pem::File(path) => path,
    };
    context.watch(path);
    let read = read::opened(context, FileUse::Pem, path);
    // The digest instead of the bytes: the hash is public, and must not depend on a private key directly.
    let digest = read.as_ref().map_or_else(ToString::to_string, |bytes| tls::sha256_hex(bytes));
    context.depend(digest.as_bytes());
    read.map_err(|error| CertificateError {
        code: "unreadable",
        problem: format!("cannot be read: {error}"),
        help: "the path is relative to the directory of the file that names it".to_owned(),
    })
}
