//! Messages over sockets: receivers that take them, refuse them, hang, and answer oddly.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::super::event::NotifyEvent;
use super::super::notifier::Notifier;
use super::super::of_record::noticed;
use super::super::queue::{SendOutcome, SendVerdict};
use super::super::send::{Outgoing, send};
use super::super::test_messages::test;
use super::super::webhook_body::signature;
use super::{at, kill, outbox, receiver, rules};
use crate::clock::Clock;
use crate::control::event::Event;
use crate::control::gate::tests::tls_server;
use crate::control::notify::TestError;
use crate::route::{ClientTls, HttpTarget, KillScope, NotifySecret, Receiver, ReceiverKind};

/// The wall clock of these tests.
const WALL: Duration = Duration::from_secs(1_796_000_000);
/// For answers that never come.
const SHORT: Duration = Duration::from_millis(100);

/// A receiver of one message: its port, and what it got.
async fn server(answer: impl Into<Vec<u8>>) -> (u16, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let (port, answer) = (listener.local_addr().expect("an address").port(), answer.into());
    let task = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        let request = request(&mut stream).await;
        // The client may have read enough.
        let _ = stream.write_all(&answer).await;
        let _ = stream.shutdown().await;
        request
    });
    (port, task)
}

async fn request(stream: &mut TcpStream) -> String {
    let mut read = Vec::new();
    loop {
        let mut bytes = [0; 4096];
        let count = stream.read(&mut bytes).await.expect("a request");
        assert!(count > 0, "the request is complete");
        read.extend_from_slice(&bytes[..count]);
        let text = String::from_utf8_lossy(&read).into_owned();
        let Some((head, _)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).expect("a length");
        if read.len() >= head.len() + 4 + length.parse::<usize>().expect("a number") {
            return text;
        }
    }
}

fn http(status: &str, more: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\n{more}Content-Length: 2\r\n\r\nok").into_bytes()
}

fn outgoing(receiver: Receiver) -> Outgoing {
    let notice = noticed(&kill(5, &KillScope::All), &rules()).notice.expect("it is heard of");
    let alerts = vec![super::super::alerts::alert_of(&notice, "PointsmanKilled")];
    let secret = Some(NotifySecret(b"a-secret-of-16-bytes".to_vec()));
    Outgoing { receiver, secret, notice: Some(Arc::new(notice)), alerts, host: "edge-1".into() }
}

async fn sent(kind: ReceiverKind, port: u16) -> SendOutcome {
    send(&outgoing(receiver(kind, "x", port)), WALL).await
}

fn why(outcome: &SendOutcome) -> (&'static str, String) {
    match &outcome.verdict {
        SendVerdict::Arrived => ("arrived", String::new()),
        SendVerdict::Refused(why) => ("refused", why.clone()),
        SendVerdict::Failed(why) => ("failed", why.clone()),
    }
}

#[tokio::test]
async fn a_webhook_gets_a_signed_message_with_its_id() {
    let (port, task) = server(http("200 OK", "")).await;
    let outcome = sent(ReceiverKind::Webhook, port).await;
    assert_eq!((outcome.verdict, outcome.status), (SendVerdict::Arrived, Some(200)));
    let request = task.await.expect("a request");
    let (head, body) = request.split_once("\r\n\r\n").expect("a head");
    assert!(head.starts_with("POST /hook HTTP/1.1\r\n"), "{head}");
    let field = |name: &str| head.lines().find_map(|line| line.strip_prefix(&format!("{name}: "))).expect("a field");
    let message: Value = serde_json::from_str(body).expect("JSON");
    assert_eq!(
        (field("idempotency-key"), message["event"].as_str()),
        (message["id"].as_str().expect("an id"), Some("kill"))
    );
    assert_eq!(field("content-type"), "application/json");
    assert_eq!(field("x-pointsman-timestamp"), "1796000000");
    assert_eq!(field("x-pointsman-signature"), signature(b"a-secret-of-16-bytes", 1_796_000_000, body.as_bytes()));
}

#[tokio::test]
async fn slack_and_alertmanager_get_their_own_form_without_a_signature() {
    for (kind, path) in [(ReceiverKind::Slack, "/hook"), (ReceiverKind::Alertmanager, "/hook/api/v2/alerts")] {
        let (port, task) = server(http("200 OK", "")).await;
        assert_eq!(sent(kind, port).await.verdict, SendVerdict::Arrived);
        let request = task.await.expect("a request");
        let (head, body) = request.split_once("\r\n\r\n").expect("a head");
        assert!(head.starts_with(&format!("POST {path} HTTP/1.1\r\n")), "{head}");
        assert!(!head.contains("x-pointsman-signature"), "{head}");
        let message: Value = serde_json::from_str(body).expect("JSON");
        assert_eq!(message.is_array(), kind == ReceiverKind::Alertmanager);
        assert_eq!(message["blocks"].is_array(), kind == ReceiverKind::Slack);
    }
}

#[tokio::test]
async fn an_answer_says_whether_a_message_is_tried_again() {
    for (status, expected) in [
        ("200 OK", "arrived"),
        ("204 No Content", "arrived"),
        ("400 Bad Request", "refused"),
        ("413 Payload Too Large", "refused"),
        ("422 Unprocessable Entity", "refused"),
        ("401 Unauthorized", "failed"),
        ("403 Forbidden", "failed"),
        ("404 Not Found", "failed"),
        ("410 Gone", "failed"),
        ("429 Too Many Requests", "failed"),
        ("500 Internal Server Error", "failed"),
        ("503 Service Unavailable", "failed"),
    ] {
        let (port, _task) = server(http(status, "")).await;
        let outcome = sent(ReceiverKind::Webhook, port).await;
        let (word, line) = why(&outcome);
        assert_eq!((word, outcome.status.map(|status| status.to_string())), (expected, Some(status[..3].to_owned())));
        assert!(word == "arrived" || line.ends_with(&format!("answers with {status}: ok")), "{line}");
    }
    let later = "Retry-After: Mon, 30 Nov 2026 00:55:00 GMT\r\n";
    for (field, asked) in [("Retry-After: 7\r\n", Some(7_000)), (later, Some(100_000)), ("Retry-After: soon\r\n", None)]
    {
        let (port, _task) = server(http("429 Too Many Requests", field)).await;
        assert_eq!(sent(ReceiverKind::Slack, port).await.retry_after_ms, asked, "{field}");
    }
}

#[tokio::test]
async fn a_receiver_that_answers_oddly_gets_the_message_once() {
    // What counts is the status: the rest may never end.
    let long = format!("HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n{}", "x".repeat(100_000));
    for answer in [long, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx".to_owned()] {
        let (port, _task) = server(answer).await;
        assert_eq!(sent(ReceiverKind::Webhook, port).await.verdict, SendVerdict::Arrived);
    }
    let (port, _task) =
        server("HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/x\r\nContent-Length: 0\r\n\r\n").await;
    let (word, line) = why(&sent(ReceiverKind::Webhook, port).await);
    assert!(word == "failed" && line.contains("redirects are not followed"), "{line}");
    let (port, _task) = server("SSH-2.0-OpenSSH_9.9\r\n").await;
    assert_eq!(why(&sent(ReceiverKind::Webhook, port).await).0, "failed");
}

#[tokio::test]
async fn a_receiver_that_hangs_costs_its_timeout() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let port = listener.local_addr().expect("an address").port();
    let mut slow = receiver(ReceiverKind::Webhook, "x", port);
    slow.target.timeout = SHORT;
    let (word, line) = why(&send(&outgoing(slow.clone()), WALL).await);
    assert!(word == "failed" && line.contains("does not answer within 100ms"), "{line}");
    drop(listener);
    let (word, line) = why(&send(&outgoing(slow), WALL).await);
    assert!(word == "failed" && line.contains("cannot be reached"), "{line}");
}

#[tokio::test]
async fn credentials_of_the_url_are_not_shown() {
    let (port, _task) = server(http("403 Forbidden", "")).await;
    let mut secret = receiver(ReceiverKind::Slack, "x", port);
    secret.target.path = "/services/T0/B0/abcdefghijklmnop1234".to_owned();
    let (_, line) = why(&send(&outgoing(secret), WALL).await);
    assert!(!line.contains("abcdefghijklmnop1234"), "{line}");
    // A redirect repeats the path, which is short.
    let location = "Location: http://127.0.0.1:1/ci/hook/s3cretkey?a\r\n";
    let (port, _task) = server(http("308 Permanent Redirect", location)).await;
    let mut secret = receiver(ReceiverKind::Webhook, "x", port);
    secret.target.path = "/hook/s3cretkey".to_owned();
    let (word, line) = why(&send(&outgoing(secret), WALL).await);
    assert!(word == "failed" && line.contains("redirects") && !line.contains("s3cretkey"), "{line}");
}

#[tokio::test]
async fn over_tls_the_certificate_is_checked() {
    let (port, root, task) = tls_server(http("200 OK", "")).await;
    let tls = |roots: Vec<Vec<u8>>| {
        Some(ClientTls { roots: roots.into(), server_name: Some("gate.test".to_owned()), client_cert: None })
    };
    let mut secure = receiver(ReceiverKind::Alertmanager, "x", port);
    secure.target = HttpTarget { tls: tls(vec![root]), ..secure.target };
    assert_eq!(send(&outgoing(secure.clone()), WALL).await.verdict, SendVerdict::Arrived);
    task.await.expect("it ends");
    let (port, _, _task) = tls_server(http("200 OK", "")).await;
    let (_, other, _other_task) = tls_server(http("200 OK", "")).await;
    secure.target = HttpTarget { port, tls: tls(vec![other]), ..secure.target };
    let (word, line) = why(&send(&outgoing(secure), WALL).await);
    assert!(word == "failed" && line.contains("over TLS"), "{line}");
}

#[tokio::test]
async fn a_receiver_that_comes_back_gets_what_waited() {
    let (port, task) = server(http("200 OK", "")).await;
    let down = TcpListener::bind("127.0.0.1:0").await.expect("bound").local_addr().expect("an address").port();
    let mut rules = rules();
    rules.notify.receivers.truncate(1);
    rules.notify.receivers[0].target.port = down;
    let mut notifier = Notifier::default();
    notifier.outbox = outbox(&rules);
    let (sender, mut events) = mpsc::channel(8);
    notifier.outbox.take_record(&kill(5, &KillScope::All), &rules, at(0));
    notifier.send_due(&rules, at(0), Clock, &sender);
    let mut report = async || match events.recv().await {
        Some(Event::Notify(NotifyEvent::Sent(report))) => *report,
        _ => panic!("a report"),
    };
    let first = report().await;
    assert_eq!(why(&first.outcome).0, "failed");
    notifier.outbox.settle(&first.receiver, &first.outcome, at(1), 0.5);
    rules.notify.receivers[0].target.port = port;
    notifier.send_due(&rules, at(2), Clock, &sender);
    assert!(!notifier.outbox.is_under_way(), "the pause is not over");
    notifier.send_due(&rules, at(1_001), Clock, &sender);
    let second = report().await;
    assert_eq!(second.outcome.verdict, SendVerdict::Arrived);
    notifier.outbox.settle(&second.receiver, &second.outcome, at(1_100), 0.5);
    assert!(task.await.expect("a request").contains("\"event\":\"kill\""));
    let standing = &notifier.outbox.standings(&rules, at(1_100))[0];
    assert_eq!((standing.pending, standing.sent, standing.failed, &standing.error), (0, 1, 1, &None));
}

#[tokio::test]
async fn a_test_goes_to_each_receiver_beside_the_queues() {
    let (port, task) = server(http("200 OK", "")).await;
    let (chat, _task) = server(http("404 Not Found", "")).await;
    let mut rules = rules();
    rules.notify.receivers.truncate(2);
    (rules.notify.receivers[0].target.port, rules.notify.receivers[1].target.port) = (port, chat);
    let mut notifier = Notifier::default();
    notifier.outbox = outbox(&rules);
    let ask = async |name: Option<&str>| {
        let (reply, answer) = tokio::sync::oneshot::channel();
        test(&notifier, name, &rules, Clock, reply);
        answer.await.expect("an answer")
    };
    let Err(TestError::Unknown { known, .. }) = ask(Some("nowhere")).await else { panic!("there is none") };
    assert_eq!(known, ["webhook:hook", "slack:chat"]);
    let all = ask(None).await.expect("answers");
    assert_eq!(
        all.iter().map(|one| (one.receiver.as_str(), one.status)).collect::<Vec<_>>(),
        [("webhook:hook", Some(200)), ("slack:chat", Some(404))]
    );
    assert!(all[0].error.is_none() && all[1].error.as_ref().is_some_and(|why| why.contains("404")), "{all:?}");
    assert!(task.await.expect("a request").contains("\"event\":\"test\""));
    let busy = Arc::clone(&notifier.testing).try_acquire_owned().expect("no test is under way");
    assert_eq!(ask(None).await, Err(TestError::Busy));
    drop(busy);
    rules.notify.receivers.clear();
    let (reply, answer) = tokio::sync::oneshot::channel();
    test(&notifier, None, &rules, Clock, reply);
    assert_eq!(answer.await.expect("an answer"), Err(TestError::NoReceivers));
}
