//! Odd status lines, and peers that speak another protocol. None of these connections ends by itself: the proxy does
//! not wait for more.

use super::row::{Row, Step, passes, refused};

/// An answer of `ok` with this status line, without its CRLF.
fn line(line: impl AsRef<[u8]>) -> Vec<u8> {
    [line.as_ref(), b"\r\ncontent-length: 2\r\n\r\nok"].concat()
}

/// Peers that speak another protocol.
fn other_protocols() -> Vec<Row> {
    vec![
        refused("a page of HTTP/0.9", "<html>evil</html>\n"),
        refused("a banner of SSH", "SSH-2.0-dropbear_2022.83\r\n"),
        refused("a greeting of SMTP", "220 mail.example ESMTP ready\r\n"),
        refused("an error of Redis", "-ERR unknown command 'GET', with args beginning with: '/'\r\n"),
        refused("a greeting of MySQL", b"\x4a\0\0\0\x0a8.0.36\0\x08\0\0\0aaaaaaaa\0"),
        refused("settings of HTTP/2", b"\0\0\x06\x04\0\0\0\0\0\0\x03\0\0\0\x64"),
        refused("a going away of HTTP/2", b"\0\0\x08\x07\0\0\0\0\0\0\0\0\0\0\0\0\x01"),
        refused("a hello of a TLS 1.2 server", b"\x16\x03\x03\0\x31\x02\0\0\x2d\x03\x03").detail("upstream_speaks_tls"),
        refused("an alert of TLS 1.2", b"\x15\x03\x03\0\x02\x02\x32").detail("upstream_speaks_tls"),
        refused("a request instead of a response", "GET /evil HTTP/1.1\r\nhost: test\r\n\r\n"),
        refused("a header of the PROXY protocol", "PROXY TCP4 127.0.0.1 127.0.0.1 1 2\r\n"),
        refused("a body without a head", "{\"evil\":true}"),
        refused("ICY", line("ICY 200 OK")),
        refused("RTSP", line("RTSP/1.0 200 OK")),
    ]
}

/// Versions.
fn versions() -> Vec<Row> {
    vec![
        refused("a version in small letters", line("http/1.1 200 OK")),
        refused("version 1.2", line("HTTP/1.2 200 OK")),
        refused("version 2", line("HTTP/2 200 OK")),
        refused("version 1.10", line("HTTP/1.10 200 OK")),
        refused("version 01.1", line("HTTP/01.1 200 OK")),
        refused("version 1", line("HTTP/1 200 OK")),
        refused("a blank in the version", line("HTTP/ 1.1 200 OK")),
    ]
}

/// The blanks, the code and the reason of a status line.
fn codes_and_reasons() -> Vec<Row> {
    vec![
        refused("no blank before the status", line("HTTP/1.1200 OK")),
        refused("two blanks before the status", line("HTTP/1.1  200 OK")),
        refused("a tab before the status", line("HTTP/1.1\t200 OK")),
        refused("a blank before the version", line(" HTTP/1.1 200 OK")),
        refused("no blank after the status", line("HTTP/1.1 200OK")),
        refused("a letter in the status", line("HTTP/1.1 2O0 OK")),
        refused("a sign in the status", line("HTTP/1.1 +20 OK")),
        refused("a status of 000", line("HTTP/1.1 000 Zero")),
        refused("a status of 600", line("HTTP/1.1 600 Beyond")),
        refused("no status", line("HTTP/1.1 ")),
        refused("NUL in the reason", line(b"HTTP/1.1 200 O\0K")),
        refused("DEL in the reason", line(b"HTTP/1.1 200 O\x7fK")),
        refused("CR in the reason", line("HTTP/1.1 200 O\rK")).finish(),
        refused("CR for every line end", "HTTP/1.1 200 OK\rcontent-length: 2\r\rok").detail("upstream_reset").finish(),
        passes("a status of 599", line("HTTP/1.1 599 Edge"), "ok").status(599),
        passes("no reason", line("HTTP/1.1 200 "), "ok"),
        passes("no reason and no blank", line("HTTP/1.1 200"), "ok"),
        passes("a reason of tabs and blanks", line("HTTP/1.1 200 \t \t"), "ok"),
        passes("a reason of bytes above 127", line(b"HTTP/1.1 200 \xc3\xa9\xff\x80"), "ok"),
        passes("a reason with a colon", line("HTTP/1.1 200 x-evil: 1"), "ok").without(&["x-evil"]),
        passes("a reason of 60 000 bytes", line(format!("HTTP/1.1 200 {}", "a".repeat(60_000))), "ok"),
        refused("a reason of 70 000 bytes", line(format!("HTTP/1.1 200 {}", "a".repeat(70_000))))
            .detail("upstream_response_headers"),
        refused("an endless reason", "HTTP/1.1 200 ").endlessly("a".repeat(1000)).detail("upstream_response_headers"),
        passes("empty lines before the status line", line("\r\n\r\nHTTP/1.1 200 OK"), "ok"),
        passes("a head and a body a byte at a time", line("HTTP/1.1 200 OK"), "ok").slowly(),
        refused("a wrong version a byte at a time", line("HTTP/1.7 200 OK")).slowly(),
        passes("a version that arrives late", "HTTP", "ok")
            .then(Step::Send(b"/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok".to_vec())),
    ]
}

/// All of them.
pub fn rows() -> Vec<Row> {
    [other_protocols(), versions(), codes_and_reasons()].concat()
}
