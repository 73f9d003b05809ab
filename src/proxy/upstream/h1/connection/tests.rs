//! The lists of fields of a connection's heads: which are used again, and who keeps them.

use std::future::poll_fn;
use std::io::Write as _;
use std::net::{TcpListener, TcpStream};

use tokio::runtime;

use super::*;
use crate::fields::Fields;
use crate::proxy::downstream::h1::tests::client;
use crate::telemetry::UpstreamSeries;

const EARLY: &str = "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n";
const FINAL: &str = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

/// Where the bytes of a list lie.
fn place(fields: &Fields) -> *const u8 {
    fields.prelude().as_ptr()
}

/// A list that has memory.
fn warm() -> Fields {
    let mut fields = Fields::new();
    fields.set_prelude(&[b'x'; 500]);
    fields
}

/// An open connection, and its upstream.
fn open(worker: &Rc<Worker>) -> (Box<Http1Connection>, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (far, _) = listener.accept().unwrap();
    near.set_nonblocking(true).unwrap();
    let socket = Socket::from(tokio::net::TcpStream::from_std(near).unwrap());
    let series = UpstreamSeries::new("v1", 1);
    let guard = ConnectionGuard::take(worker, std::sync::Arc::new(series), 1).unwrap();
    let limits = HeadLimits { bytes: 4096, fields: 10 };
    (Http1Connection::new(OpenConnection { socket, guard }, limits, worker), far)
}

#[test]
fn a_list_serves_all_heads_of_a_response_and_goes_with_the_last() {
    let client = client();
    let worker = &client.worker;
    runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
        for early in [0, 1, 2, 5] {
            let (mut connection, mut upstream) = open(worker);
            let spare = warm();
            let known = place(&spare);
            worker.take_back_fields(spare);
            connection.begin(ExpectedResponse::HeadAndBody);
            upstream.write_all((EARLY.repeat(early) + FINAL).as_bytes()).unwrap();
            let read = poll_fn(|cx| connection.poll_head(cx, Some(&client.informational))).await;
            read.expect("a head");
            let fields = connection.take_head().expect("it is complete").fields;
            assert_eq!(place(&fields), known, "after {early} informational heads");
            assert_eq!(fields.get("content-length"), Some(&b"0"[..]));
            // The connection, which is idle now, has no list of its own, and the worker no other one.
            worker.take_back_fields(fields);
            let mut spare = worker.spare_fields();
            spare.set_prelude(b"x");
            assert_eq!(place(&spare), known);
            assert!(client.informational.take().is_some() == (early > 0));
        }
    });
}
