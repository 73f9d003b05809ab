//! Lengths, codings and their combinations with statuses and methods; bodies up to the end of the connection.

use super::row::{Row, cut, passes, refused};

/// An answer with this length and the body `ok`.
fn length(length: impl AsRef<[u8]>) -> Vec<u8> {
    [b"HTTP/1.1 200 OK\r\ncontent-length:", length.as_ref(), b"\r\n\r\nok"].concat()
}

/// An answer with this coding and a chunked body `ok`.
fn coding(coding: impl AsRef<[u8]>) -> Vec<u8> {
    [b"HTTP/1.1 200 OK\r\ntransfer-encoding:", coding.as_ref(), b"\r\n\r\n2\r\nok\r\n0\r\n\r\n"].concat()
}

fn lengths() -> Vec<Row> {
    vec![
        refused("an empty length", length("")),
        refused("a hexadecimal length", length(" 0x2")),
        refused("two numbers in a length", length(" 2 2")),
        refused("a length with a parameter", length(" 2;q=1")),
        refused("a decimal fraction as a length", length(" 2.0")),
        refused("digits of another script as a length", length(" \u{662}")),
        refused("a length of 2^64", length(" 18446744073709551616")),
        refused("a length of thirty digits", length(" 000000000000000000000000000002")),
        passes("a length with leading zeros", length(" 0002"), "ok"),
        passes("a length between tabs", length("\t2 \t"), "ok"),
        cut("a body one byte shorter than its length", "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nok", "ok").finish(),
        cut("a reset within a body", "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nok", "ok").reset(),
        cut("an end after the head", "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n", "").finish(),
        passes("an empty line behind a body", [&length(" 2"), &b"\r\n"[..]].concat(), "ok").closed(),
    ]
}

fn codings() -> Vec<Row> {
    vec![
        refused("a parameter of chunked", coding(" chunked;q=1")),
        refused("xchunked", coding(" xchunked")),
        refused("a comma behind chunked", coding(" chunked,")),
        refused("an empty coding", coding("")),
        refused("identity", coding(" identity")),
        refused("identity, then chunked", coding(" identity, chunked")),
        refused("a quoted coding", coding(" \"chunked\"")),
        passes("chunked in capitals", coding(" CHUNKED"), "ok"),
        passes("chunked between tabs", coding("\tchunked \t"), "ok"),
        passes(
            "gzip of a body that is none",
            "HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 2\r\n\r\nok",
            "ok",
        ),
        passes("gzip of an empty body", "HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 0\r\n\r\n", ""),
        passes(
            "a range that is none",
            "HTTP/1.1 206 P\r\ncontent-range: bytes 9-1/0\r\ncontent-length: 2\r\n\r\nok",
            "ok",
        )
        .status(206),
    ]
}

fn bodiless() -> Vec<Row> {
    let evil = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil";
    let twice = |head: &str| format!("{head}{evil}");
    vec![
        passes("204 with chunks", "HTTP/1.1 204 N\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", "")
            .status(204)
            .closed(),
        passes("204 with a length and a body", "HTTP/1.1 204 N\r\ncontent-length: 4\r\n\r\nevil", "")
            .status(204)
            .closed(),
        passes("304 with the length of the other body", "HTTP/1.1 304 N\r\ncontent-length: 99\r\n\r\n", "").status(304),
        passes("304 with a second answer", twice("HTTP/1.1 304 N\r\ncontent-length: 99\r\n\r\n"), "")
            .status(304)
            .closed(),
        passes("205 with a body", "HTTP/1.1 205 Reset\r\ncontent-length: 2\r\n\r\nok", "ok").status(205),
        passes("chunked to HEAD", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", "").to("HEAD"),
        passes("no length to HEAD", "HTTP/1.1 200 OK\r\nx: 1\r\n\r\n", "").to("HEAD"),
        passes("a length of 2^62 to HEAD", "HTTP/1.1 200 OK\r\ncontent-length: 4611686018427387904\r\n\r\n", "")
            .to("HEAD"),
        passes("a chunked body to HEAD", coding(" chunked"), "").to("HEAD").closed(),
        passes("two heads to HEAD", twice("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n"), "").to("HEAD").closed(),
        refused("two lengths to HEAD", "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n").to("HEAD"),
    ]
}

fn until_the_end() -> Vec<Row> {
    let bare = "HTTP/1.1 200 OK\r\nx: 1\r\n\r\n";
    vec![
        passes("a body without a length", format!("{bare}ok"), "ok").finish(),
        passes("a body that looks like an answer", format!("{bare}{bare}ok"), format!("{bare}ok")).finish(),
        passes("an empty body without a length", bare, "").finish(),
        passes(
            "a multipart body",
            "HTTP/1.1 200 OK\r\ncontent-type: multipart/byteranges; boundary=x\r\n\r\n--x--",
            "--x--",
        )
        .finish(),
        passes("a body in two parts", format!("{bare}first "), "first second").after_head("second").finish(),
        cut("a reset within a body without a length", format!("{bare}ok"), "ok").reset(),
        passes("HTTP/1.0 with a length", "HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok", "ok").closed(),
        passes(
            "HTTP/1.0 that keeps the connection",
            "HTTP/1.0 200 OK\r\nconnection: Keep-Alive\r\ncontent-length: 2\r\n\r\nok",
            "ok",
        ),
        passes("HTTP/1.0 without a length", "HTTP/1.0 200 OK\r\nconnection: keep-alive\r\n\r\nok", "ok").finish(),
    ]
}

/// All of them.
pub fn rows() -> Vec<Row> {
    [lengths(), codings(), bodiless(), until_the_end()].concat()
}
