//! A rejected reload changes nothing: not the fallback of a later load, not the disk, not a socket.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use super::harness::{Folder, file, generation, rejected};
use crate::app::{App, ReloadOutcome};
use crate::tls::Server;

/// The rules with a TLS listener and these additional lines.
fn secured(weight: u32, more: &str) -> String {
    let tls = format!("[listener.tls]\ncertificates = \"certs\"\n{more}\n[access_log]");
    file(weight).replace("[access_log]", &tls)
}

/// The same text with one more listener.
fn with_listener(text: &str, address: SocketAddr) -> String {
    let more = format!("[[listener]]\nname = \"more\"\naddress = \"{address}\"\n[access_log]");
    text.replace("[access_log]", &more)
}

/// A new certificate and its key, as PEM.
fn pair() -> (String, String) {
    let made = rcgen::generate_simple_self_signed(vec!["a.test".to_owned()]).expect("made");
    (made.cert.pem(), made.signing_key.serialize_pem())
}

fn write_pair(folder: &Folder, pair: &(String, String)) {
    let (cert, key) = pair;
    folder.write("certs/a.crt", cert);
    folder.write("certs/a.key", key);
}

/// An address that cannot be bound while the socket exists.
fn taken() -> (TcpListener, SocketAddr) {
    let taken = TcpListener::bind("127.0.0.1:0").expect("bound");
    let address = taken.local_addr().expect("an address");
    (taken, address)
}

fn server(app: &App) -> Arc<Server> {
    app.state.snapshot().listeners[0].tls.clone().expect("TLS")
}

fn fingerprint(app: &App) -> String {
    server(app).served()[0].certificate.fingerprint().to_owned()
}

#[test]
fn the_certificate_to_fall_back_to_is_the_one_in_use() {
    let folder = Folder::new(&secured(5, ""));
    write_pair(&folder, &pair());
    let app = folder.start();
    let in_use = fingerprint(&app);

    write_pair(&folder, &pair());
    let (socket, address) = taken();
    folder.write("routes.toml", &with_listener(&secured(5, ""), address));
    assert!(rejected(&app.reload()).contains("in use"), "the address is taken");
    assert_eq!(fingerprint(&app), in_use);

    write_pair(&folder, &("broken".to_owned(), "broken".to_owned()));
    drop(socket);
    let outcome = app.reload();
    assert!(matches!(outcome, ReloadOutcome::Applied { .. }), "{outcome:?}");
    assert_eq!(fingerprint(&app), in_use, "a certificate that was never in use is served");

    // The applied certificate is the fallback of the next load.
    let renewed = pair();
    write_pair(&folder, &renewed);
    assert!(matches!(app.reload(), ReloadOutcome::Applied { .. }));
    let in_use = fingerprint(&app);
    write_pair(&folder, &(renewed.0, "broken".to_owned()));
    assert!(matches!(app.reload(), ReloadOutcome::Applied { .. }), "the certificate is marked as kept");
    assert_eq!(fingerprint(&app), in_use);
}

#[test]
fn the_authority_to_fall_back_to_is_the_one_in_use() {
    let text = |weight| secured(weight, "client_auth = { ca = \"ca.pem\" }");
    let folder = Folder::new(&text(5));
    write_pair(&folder, &pair());
    folder.write("ca.pem", &pair().0);
    let app = folder.start();
    let in_use = server(&app);

    // Rejected by an error in the file, and by an address.
    let (socket, address) = taken();
    for bad in [text(101), with_listener(&text(5), address)] {
        folder.write("ca.pem", &pair().0);
        folder.write("routes.toml", &bad);
        rejected(&app.reload());
    }
    drop(socket);

    folder.write("ca.pem", "broken");
    folder.write("routes.toml", &text(6));
    let outcome = app.reload();
    assert!(matches!(outcome, ReloadOutcome::Applied { .. }), "{outcome:?}");
    assert!(Arc::ptr_eq(&server(&app), &in_use), "an authority that was never in use accepts clients");
}

#[test]
fn an_unused_authority_is_no_fallback() {
    let with = secured(5, "client_auth = { ca = \"ca.pem\" }");
    let folder = Folder::new(&with);
    write_pair(&folder, &pair());
    folder.write("ca.pem", &pair().0);
    let app = folder.start();
    folder.write("routes.toml", &secured(5, ""));
    assert!(matches!(app.reload(), ReloadOutcome::Applied { .. }));

    folder.write("ca.pem", "broken");
    folder.write("routes.toml", &with);
    rejected(&app.reload());
    assert_eq!(generation(&app), 2, "roots that were not in use accept clients");
}

#[test]
fn a_kept_certificate_has_the_name_of_its_current_file() {
    let folder = Folder::new(&secured(5, ""));
    write_pair(&folder, &pair());
    let app = folder.start();
    let in_use = fingerprint(&app);
    for end in ["crt", "key"] {
        let to = folder.path(&format!("certs/b.{end}"));
        std::fs::rename(folder.path(&format!("certs/a.{end}")), to).expect("renamed");
    }
    let outcome = app.reload();
    assert!(matches!(outcome, ReloadOutcome::Unchanged { .. }), "{outcome:?}");
    folder.write("certs/b.crt", "broken");
    folder.write("certs/b.key", "broken");
    let outcome = app.reload();
    assert!(matches!(outcome, ReloadOutcome::Applied { .. }), "{outcome:?}");
    assert_eq!(fingerprint(&app), in_use);
}

#[test]
fn no_log_file_is_left_behind() {
    let folder = Folder::new(&file(5));
    let app = folder.start();
    let log = folder.path("access.log");
    let text = file(5).replace("sink = \"off\"", &format!("sink = \"{}\"", log.display()));
    let (socket, address) = taken();
    folder.write("routes.toml", &with_listener(&text, address));
    rejected(&app.reload());
    assert!(!log.exists(), "the log of a rejected configuration was created");
    drop(socket);
    assert!(matches!(app.reload(), ReloadOutcome::Applied { .. }));
    assert!(log.exists());
}

#[test]
fn bound_sockets_are_closed_again() {
    let folder = Folder::new(&file(5));
    let app = folder.start();
    let (free, address) = taken();
    drop(free);
    let missing = folder.path("none/access.log");
    let text = with_listener(&file(5), address);
    let unwritable = text.replace("sink = \"off\"", &format!("sink = \"{}\"", missing.display()));
    folder.write("routes.toml", &unwritable);
    assert!(rejected(&app.reload()).contains("access log"));
    assert_eq!(generation(&app), 1);
    drop(TcpListener::bind(address).expect("the address is free again"));
    folder.write("routes.toml", &text);
    assert!(matches!(app.reload(), ReloadOutcome::Applied { .. }));
}
