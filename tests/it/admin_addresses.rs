//! An admin listener with several addresses: each address answers, and a reload adds and removes single ones.

#![expect(clippy::unwrap_used, reason = "a test may fail")]

use std::net::{SocketAddr, TcpListener, TcpStream};

use crate::harness::{Proxy, Raw, until};
use crate::process::Running;

fn file(addresses: &str) -> String {
    format!("[admin]\naddress = {addresses}\n[[route]]\nname = \"all\"\nrespond = {{ status = 200 }}\n")
}

fn addresses(proxy: &Proxy) -> Vec<SocketAddr> {
    let status = proxy.status();
    let all: Vec<SocketAddr> =
        status["admin"].as_array().unwrap().iter().map(|one| one.as_str().unwrap().parse().unwrap()).collect();
    assert_eq!(all, proxy.app().admin_all());
    all
}

fn status_of(client: &mut Raw, host: &str) -> u16 {
    client.send(format!("GET /healthz HTTP/1.1\r\nHost: {host}\r\n\r\n")).read_response().status
}

#[test]
fn every_address_answers_and_a_reload_keeps_those_that_stay() {
    let both = file("[\"127.0.0.1:0\", \"127.0.0.2:0\"]");
    let proxy = Proxy::start(&both);
    let [first, second] = addresses(&proxy)[..] else { panic!("two addresses") };
    assert_eq!((first.ip().to_string(), second.ip().to_string()), ("127.0.0.1".to_owned(), "127.0.0.2".to_owned()));
    let mut clients = [first, second].map(Raw::connect);
    for client in &mut clients {
        assert_eq!(status_of(client, "localhost"), 200);
        assert_eq!(status_of(client, "evil.example"), 403, "each address refuses names of other machines");
    }

    assert_ne!(proxy.rewrite(&file("\"127.0.0.1:0\"")).name(), "rejected");
    assert_eq!(addresses(&proxy), [first]);
    until("the removed address refuses connections", || TcpStream::connect(second).is_err().then_some(()));
    for client in &mut clients {
        assert_eq!(status_of(client, "localhost"), 200, "open connections go on");
    }

    assert_ne!(proxy.rewrite(&file("[\"127.0.0.3:0\", \"127.0.0.1:0\"]")).name(), "rejected");
    let [third, kept] = addresses(&proxy)[..] else { panic!("two addresses") };
    assert_eq!(kept, first, "it keeps its socket");
    assert_eq!(status_of(&mut clients[0], "localhost"), 200, "and its connections");
    assert_eq!(status_of(&mut Raw::connect(third), "localhost"), 200);
}

#[test]
fn an_address_that_cannot_be_bound_changes_nothing() {
    let other = TcpListener::bind("127.0.0.2:0").unwrap();
    let taken = other.local_addr().unwrap();
    let bad = file(&format!("[\"127.0.0.1:0\", \"{taken}\", \"127.0.0.3:0\"]"));
    let why = Proxy::workers(1).try_start(&bad).err().unwrap();
    assert!(why.contains(&format!("the admin listener cannot listen on {taken}: the address is in use")), "{why}");
    let proxy = Proxy::start(&file("\"127.0.0.1:0\""));
    let before = addresses(&proxy);
    let mut client = Raw::connect(before[0]);
    assert_eq!(status_of(&mut client, "localhost"), 200);
    assert_eq!(proxy.rewrite(&bad).name(), "rejected");
    assert_eq!(addresses(&proxy), before);
    assert_eq!(status_of(&mut client, "localhost"), 200);
}

#[test]
fn the_announcement_lists_every_address() {
    let dir = tempfile::tempdir().unwrap();
    let text = format!(
        "schema = 1\n[[listener]]\naddress = \"127.0.0.1:0\"\n[access_log]\nsink = \"off\"\n{}",
        file("[\"127.0.0.1:0\", \"127.0.0.2:0\"]")
    );
    std::fs::write(dir.path().join("routes.toml"), text).unwrap();
    let mut running = Running::start(dir.path(), &["run", "routes.toml", "--workers", "1"]);
    let announced = [running.word_after("admin"), running.word_after("admin")];
    assert!(
        announced[0].starts_with("http://127.0.0.1:") && announced[1].starts_with("http://127.0.0.2:"),
        "{announced:?}"
    );
    running.signal("TERM");
    running.end();
}
