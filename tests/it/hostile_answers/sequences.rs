//! Informational responses, several answers for one request, and connections that end without an answer.

use super::row::{Row, passes, refused, with};

fn informational() -> Vec<Row> {
    let after = |head: &str| [head.as_bytes(), &with("")].concat();
    let hint = "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n";
    vec![
        passes("an unasked 100", after("HTTP/1.1 100 Continue\r\n\r\n"), "ok"),
        passes("a hundred informational responses", after(&hint.repeat(100)), "ok").early(vec![103; 100]),
        passes("a hundred unasked 100", after(&"HTTP/1.1 100 Continue\r\n\r\n".repeat(100)), "ok"),
        passes(
            "102, 103 and 199",
            after("HTTP/1.1 102 P\r\n\r\nHTTP/1.1 103 E\r\nx: 1\r\n\r\nHTTP/1.1 199 ?\r\n\r\n"),
            "ok",
        )
        .early([102, 103, 199]),
        passes("a hint a byte at a time", after(hint), "ok").early([103]).slowly(),
        passes("100 of HTTP/1.0", after("HTTP/1.0 100 Continue\r\n\r\n"), "ok"),
        passes("a hint with fields of a hop", after("HTTP/1.1 103 E\r\nconnection: close\r\nx: 1\r\n\r\n"), "ok")
            .early([103]),
        refused("a hint with a body", after("HTTP/1.1 103 E\r\ncontent-length: 5\r\n\r\nhello")).early([103]),
        refused("a hint with chunks", after("HTTP/1.1 103 E\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"))
            .early([103]),
        refused("a hint with a broken field", after("HTTP/1.1 103 E\r\nx y: 1\r\n\r\n")),
        refused("a hint that is too large", after(&format!("HTTP/1.1 103 E\r\nx: {}\r\n\r\n", "y".repeat(70_000))))
            .detail("upstream_response_headers"),
        refused(
            "101 behind a hint",
            after(&format!("{hint}HTTP/1.1 101 S\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n")),
        )
        .early([103]),
        refused("101 without fields", "HTTP/1.1 101 Switching Protocols\r\n\r\n"),
        refused("a hint and an end", hint).early([103]).detail("upstream_reset").finish(),
        refused("100 and a reset", "HTTP/1.1 100 Continue\r\n\r\n").detail("upstream_reset").reset(),
    ]
}

fn several() -> Vec<Row> {
    let evil = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil";
    vec![
        passes("three answers at once", [&with("")[..], evil.as_bytes(), evil.as_bytes()].concat(), "ok").closed(),
        passes("a second answer after the first is read", with(""), "ok").late(evil),
        passes("a byte after the answer is read", with(""), "ok").late("H"),
        passes("a hint after the answer is read", with(""), "ok").late("HTTP/1.1 103 Early Hints\r\n\r\n"),
        passes("408 after the answer is read", with(""), "ok")
            .late("HTTP/1.1 408 Timeout\r\ncontent-length: 0\r\n\r\n")
            .finish(),
        passes("an end after the answer is read", with(""), "ok").late("").finish(),
        passes("a reset after the answer is read", with(""), "ok").late("").reset(),
    ]
}

fn none() -> Vec<Row> {
    let silent = |name| refused(name, "").detail("upstream_reset");
    vec![
        silent("an end instead of an answer").finish(),
        silent("an end instead of an answer to POST").to("POST").finish(),
        silent("a reset instead of an answer").reset(),
        silent("a reset instead of an answer to POST").to("POST").reset(),
        refused("an end in the status line", "HTTP/1.1 2").detail("upstream_reset").finish(),
        refused("a reset in the status line", "HTTP/1.1 2").detail("upstream_reset").reset(),
        refused("an end before the empty line", "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n")
            .detail("upstream_reset")
            .finish(),
        refused("an end within the empty line", "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r")
            .detail("upstream_reset")
            .finish(),
    ]
}

/// All of them.
pub fn rows() -> Vec<Row> {
    [informational(), several(), none()].concat()
}
