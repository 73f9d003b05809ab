//! Where a proxy is looked for, and what is said when it is not there.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use super::*;

fn find(option: Option<&AdminPlace>, variable: Option<&str>, purpose: Purpose) -> AdminEndpoint {
    AdminEndpoint::find(option, variable, purpose, Credentials::default()).unwrap()
}

#[test]
fn an_option_comes_before_the_variable_and_the_usual_places_last() {
    let option = AdminPlace::named("a:1").unwrap();
    let names = |option: Option<&AdminPlace>, variable| find(option, variable, Purpose::Read).names();
    assert_eq!(names(Some(&option), Some("b:2")), "http://a:1");
    assert_eq!(names(None, Some("b:2")), "http://b:2");
    let usual = "unix:./state/run/admin.sock or unix:/var/lib/pointsman/run/admin.sock or http://127.0.0.1:9900";
    assert_eq!(names(None, Some("")), usual);
    assert_eq!(names(None, None), usual);
    let refused = AdminEndpoint::find(None, Some("ftp://b"), Purpose::Read, Credentials::default()).unwrap_err();
    assert!(refused.to_string().contains("POINTSMAN_ADMIN is `ftp://b`"), "{refused}");
}

#[test]
fn an_act_goes_over_tcp_only_with_a_token() {
    let tcp = |purpose, token: Option<&str>| {
        let token = BearerToken::find(None, token).unwrap();
        let credentials = Credentials { token, ca: None };
        AdminEndpoint::find(None, None, purpose, credentials).unwrap().names().contains(DEFAULT)
    };
    assert!(tcp(Purpose::Read, None) && tcp(Purpose::Act, Some("pm_x")) && !tcp(Purpose::Act, None));
}

#[test]
fn every_place_that_was_tried_has_its_reason() {
    let dir = tempfile::tempdir().unwrap();
    let gone = dir.path().join("gone.sock");
    let stale = dir.path().join("stale.sock");
    drop(std::os::unix::net::UnixListener::bind(&stale).unwrap());
    let mut admin = find(None, None, Purpose::Act);
    admin.places[0].place = AdminPlace::Socket(gone.clone());
    admin.places[1].place = AdminPlace::Socket(stale.clone());
    let said = admin.ask_blocking("/status", FetchOptions::get()).unwrap_err().to_string();
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines[0], "no proxy answers");
    assert_eq!(lines[1], format!("  tried unix:{}: No such file or directory (os error 2)", gone.display()));
    assert_eq!(lines[2], format!("  tried unix:{}: Connection refused (os error 111)", stale.display()));
    assert_eq!(lines[3], format!("  tried {DEFAULT}: {NO_TOKEN}"));
    assert!(lines[4].contains("--admin or POINTSMAN_ADMIN"), "{said}");
}

/// The message when the listener at this address does not answer.
fn unanswered(address: SocketAddr) -> String {
    let admin = AdminEndpoint::at(AdminPlace::named(&address.to_string()).unwrap(), Credentials::default());
    let options = FetchOptions::within(Duration::from_millis(50));
    let message = admin.ask_blocking("/", options).unwrap_err().to_string();
    message.lines().next().unwrap().replace(&format!("http://{address}/"), "URL")
}

#[test]
fn a_late_answer_has_one_message_in_every_phase() {
    // The connection is queued, and the request is never answered.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    assert_eq!(unanswered(silent.local_addr().unwrap()), "cannot ask URL: it does not answer in time");

    // The queue is full: there is no connection.
    let full = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    full.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    full.listen(0).unwrap();
    let address = full.local_addr().unwrap().as_socket().unwrap();
    let mut queue = Vec::new();
    while let Ok(queued) = TcpStream::connect_timeout(&address, Duration::from_millis(200)) {
        queue.push(queued);
    }
    assert_eq!(unanswered(address), "cannot ask URL: it does not answer in time");
}
