//! Odd field lines, limits on heads, and the options of `Connection`.

use super::row::{Row, passes, refused, with};

/// The limits of an upstream that has no others.
const FIELDS_MAX: usize = 256;
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// Lines that no head may have.
fn invalid() -> Vec<Row> {
    [
        ("an empty name", &b": evil\r\n"[..]),
        ("a blank in a name", b"x evil: 1\r\n"),
        ("a control character in a name", b"x\x01: 1\r\n"),
        ("NUL in a name", b"x\0y: 1\r\n"),
        ("a byte above 127 in a name", b"n\xc3\xa4me: 1\r\n"),
        ("brackets in a name", b"x(y): 1\r\n"),
        ("a tab before the colon", b"x\t: 1\r\n"),
        ("a line without a colon", b"nonsense\r\n"),
        ("a folded line at the beginning", b" x: 1\r\n"),
        ("a folded line of a tab", b"x: 1\r\n\ty\r\n"),
        ("a folded length", b"content-length:\r\n 9\r\n"),
        ("a folded empty line", b"x: 1\r\n \r\n"),
        ("DEL in a value", b"x: a\x7fb\r\n"),
        ("a control character in a value", b"x: a\x1bb\r\n"),
        ("a vertical tab around a value", b"x: \x0bb\r\n"),
        ("CR before CRLF", b"x: a\r\r\n"),
        ("LF and CR in the wrong order", b"x: a\n\ry: b\r\n"),
        ("LF in a value", b"x: a\nx-evil: 1\r\n"),
        ("a second status line", b"HTTP/1.1 200 OK\r\n"),
        ("CR within a name", b"x\ry: 1\r\n"),
    ]
    .into_iter()
    .map(|(name, lines)| refused(name, with(lines)))
    .collect()
}

/// Lines that are unusual and valid.
fn unusual() -> Vec<Row> {
    vec![
        passes("bytes above 127 in a value", with(b"x: \xff\xfe\x80\r\n"), "ok"),
        passes("a tab in a value", with("x: a\tb\r\n"), "ok"),
        passes("an empty value", with("x:\r\ny:   \r\n"), "ok"),
        passes("much white space around a value", with(format!("x:{0}a{0}\r\n", " \t".repeat(1000))), "ok"),
        passes("every character of a token in a name", with("!#$%&'*+-.^_`|~09az: 1\r\n"), "ok"),
        passes("a name of 20 000 bytes", with(format!("{}: 1\r\n", "n".repeat(20_000))), "ok"),
        passes("an encoded line end in a value", with("location: /a%0d%0ax-evil: 1\r\n"), "ok").without(&["x-evil"]),
        passes("the same name 200 times", with("set-cookie: a=b\r\n".repeat(200)), "ok"),
    ]
}

/// Heads at the edge of the limits.
fn large() -> Vec<Row> {
    // `with` adds one field: 17 bytes of status line, 19 of the length, and the empty line.
    let filled = |bytes: usize| with(format!("x: {}\r\n", "y".repeat(bytes - 17 - 19 - 2 - 5)));
    let beyond = "upstream_response_headers";
    vec![
        passes("as many fields as allowed", with("x: 1\r\n".repeat(FIELDS_MAX - 1)), "ok"),
        refused("one field more than allowed", with("x: 1\r\n".repeat(FIELDS_MAX))).detail(beyond),
        refused("ten thousand empty fields", with("x:\r\n".repeat(10_000))).detail(beyond),
        passes("a head as large as allowed", filled(HEAD_BYTES_MAX), "ok"),
        refused("a head one byte larger than allowed", filled(HEAD_BYTES_MAX + 1)).detail(beyond),
        refused("an endless name", "HTTP/1.1 200 OK\r\n").endlessly("n".repeat(1000)).detail(beyond),
        refused("an endless value", "HTTP/1.1 200 OK\r\nx: ").endlessly("v".repeat(1000)).detail(beyond),
    ]
}

/// Options of `Connection`.
fn connection() -> Vec<Row> {
    vec![
        passes("a named field", with("x-secret: evil\r\nconnection: x-secret\r\n"), "ok").without(&["x-secret"]),
        passes("a length named by connection", with("connection: content-length\r\n"), "ok"),
        passes("hop-by-hop fields", with("keep-alive: timeout=9\r\nupgrade: h2c\r\nproxy-connection: close\r\n"), "ok")
            .without(&["keep-alive", "upgrade", "proxy-connection"]),
        passes("close in capitals behind keep-alive", with("connection: keep-alive, CLOSE\r\n"), "ok").closed(),
        passes("close in a second field", with("connection: x\r\nconnection: close\r\n"), "ok").closed(),
        passes("close in an empty list", with("connection: ,, ,close,\r\n"), "ok").closed(),
        passes("closed is not close", with("connection: closed\r\n"), "ok"),
        passes(
            "close, with an answer behind it",
            [&with("connection: close\r\n"), &with("x: evil\r\n")[..]].concat(),
            "ok",
        )
        .closed(),
        passes("keep-alive and an end", with("connection: keep-alive\r\nkeep-alive: timeout=1000\r\n"), "ok").finish(),
    ]
}

/// All of them.
pub fn rows() -> Vec<Row> {
    [invalid(), unusual(), large(), connection()].concat()
}
