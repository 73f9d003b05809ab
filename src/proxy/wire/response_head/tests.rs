//! Heads of responses: tables of good and bad ones, each in every split; limits at their edge; laws over any bytes.

use bytes::{Bytes, BytesMut};
use http::{Method, Version};
use proptest::prelude::*;

use super::{ExpectedResponse, HeadLimits, HeadProgress, MalformedResponse, ResponseFraming, ResponseHeadScanner};
use ExpectedResponse::{HeadAndBody, HeadOnly};
use MalformedResponse::{Invalid, TooLarge};

const LIMITS: HeadLimits = HeadLimits { bytes: 1024, fields: 10 };

/// All that a caller learns from the bytes of one response, up to its body.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Reading {
    /// Status and fields of each informational head.
    informational: Vec<(u16, Vec<(String, String)>)>,
    result: Result<Option<Final>, MalformedResponse>,
}

/// A final head.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Final {
    /// Bytes of all heads up to the end of this one.
    length: usize,
    status: u16,
    version: Version,
    fields: Vec<(String, String)>,
    framing: ResponseFraming,
    persistent: bool,
    hop_by_hop: bool,
}

impl Reading {
    #[track_caller]
    fn head(self) -> Final {
        self.result.unwrap().expect("the head is incomplete")
    }
}

fn text(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

/// Reads bytes that arrive in pieces which end at these indices.
fn read(expected: ExpectedResponse, limits: HeadLimits, bytes: &[u8], ends: impl Iterator<Item = usize>) -> Reading {
    let mut scanner = ResponseHeadScanner::new(limits);
    scanner.begin(expected);
    let mut reading = Reading { informational: Vec::new(), result: Ok(None) };
    let (mut buffer, mut at, mut heads) = (BytesMut::new(), 0, 0);
    for end in ends {
        buffer.extend_from_slice(&bytes[at..end]);
        at = end;
        loop {
            let progress = scanner.scan(&buffer);
            assert_eq!(scanner.scan(&buffer), progress, "the same again");
            match progress {
                Ok(HeadProgress::Partial) => {
                    assert_eq!(scanner.scanned, buffer.len(), "a later call begins behind them");
                    break;
                }
                Ok(HeadProgress::Informational(length)) => {
                    scanner.keep(&buffer).unwrap();
                    let fields = scanner.take_fields();
                    let fields = fields.iter().map(|(name, value)| (text(name), text(value))).collect();
                    reading.informational.push((scanner.status(), fields));
                    let _ = buffer.split_to(length);
                    heads += length;
                    scanner.next_head();
                    if buffer.is_empty() {
                        break;
                    }
                }
                Ok(HeadProgress::Final(length)) => {
                    scanner.keep(&buffer.split().freeze()).unwrap();
                    let head = scanner.take_head().unwrap();
                    let name = |name: &[u8]| String::from_utf8(name.to_vec()).unwrap();
                    let fields = head.fields.iter().map(|(field, value)| (name(field), text(value)));
                    assert_eq!(head.status.as_u16(), scanner.status());
                    reading.result = Ok(Some(Final {
                        length: heads + length,
                        status: head.status.as_u16(),
                        version: head.version,
                        fields: fields.collect(),
                        framing: head.framing,
                        persistent: head.persistent,
                        hop_by_hop: head.hop_by_hop,
                    }));
                    return reading;
                }
                Err(malformed) => {
                    reading.result = Err(malformed);
                    return reading;
                }
            }
        }
    }
    reading
}

fn whole(expected: ExpectedResponse, limits: HeadLimits, bytes: &[u8]) -> Reading {
    read(expected, limits, bytes, std::iter::once(bytes.len()))
}

/// Reads bytes in one piece, byte by byte, and in two pieces at every index: the result is the same.
#[track_caller]
fn in_every_split(expected: ExpectedResponse, limits: HeadLimits, bytes: &[u8]) -> Reading {
    let reading = whole(expected, limits, bytes);
    assert_eq!(read(expected, limits, bytes, 1..=bytes.len()), reading, "{} byte by byte", text(bytes));
    for split in 1..bytes.len() {
        let pieces = [split, bytes.len()].into_iter();
        assert_eq!(read(expected, limits, bytes, pieces), reading, "{} split at {split}", text(bytes));
    }
    reading
}

#[track_caller]
fn good(expected: ExpectedResponse, head: &str) -> Final {
    let head = head.as_bytes();
    let reading = in_every_split(expected, LIMITS, head);
    let read = reading.clone().head();
    assert_eq!(read.length, head.len(), "{}", text(head));
    // What follows a head does not change it.
    let followed = [head, b"HTTP/1.1 500 No\r\n\r\n\0\n\r"].concat();
    assert_eq!(in_every_split(expected, LIMITS, &followed), reading, "{}", text(head));
    // Every part of a head is partial.
    for end in 0..head.len() {
        assert_eq!(whole(expected, LIMITS, &head[..end]).result, Ok(None), "{}", text(&head[..end]));
    }
    read
}

/// The head is refused for this reason at its last byte, or before.
#[track_caller]
fn bad(head: impl AsRef<[u8]>, malformed: MalformedResponse) {
    let head = head.as_ref();
    for expected in [HeadOnly, HeadAndBody] {
        assert_eq!(in_every_split(expected, LIMITS, head).result, Err(malformed), "{}", text(head));
        let followed = [head, b"\r\n\r\nHTTP/1.1 200 OK\r\n\r\n"].concat();
        assert_eq!(whole(expected, LIMITS, &followed).result, Err(malformed), "{}", text(&followed));
    }
}

/// The head is refused at its last byte, not before.
#[track_caller]
fn bad_at_last_byte(head: impl AsRef<[u8]>) {
    let head = head.as_ref();
    bad(head, Invalid);
    assert_eq!(whole(HeadAndBody, LIMITS, &head[..head.len() - 1]).result, Ok(None), "{}", text(head));
}

#[test]
fn status_lines() {
    for (line, status, version) in [
        ("HTTP/1.1 200 OK", 200, Version::HTTP_11),
        ("HTTP/1.0 200 OK", 200, Version::HTTP_10),
        ("HTTP/1.1 200 ", 200, Version::HTTP_11),
        ("HTTP/1.1 200", 200, Version::HTTP_11),
        ("HTTP/1.1 200  two blanks", 200, Version::HTTP_11),
        ("HTTP/1.1 404 a\tb \u{e9}!\"~", 404, Version::HTTP_11),
        ("HTTP/1.1 599 x", 599, Version::HTTP_11),
        ("HTTP/1.1 101 Switching Protocols", 101, Version::HTTP_11),
        ("\r\nHTTP/1.1 200 OK", 200, Version::HTTP_11),
        ("\r\n\r\n\r\nHTTP/1.1 200 OK", 200, Version::HTTP_11),
    ] {
        let head = good(HeadAndBody, &format!("{line}\r\nContent-Length: 0\r\n\r\n"));
        assert_eq!((head.status, head.version), (status, version), "{line}");
    }
    for line in [
        "HTTP/1.1 200 a\0b\r\n",
        "HTTP/1.1 200 a\x7f\r\n",
        "HTTP/1.1 200 a\x1b[0m\r\n",
        "HTTP/1.1 200 OK\rX: a\r\n",
        "HTTP/1.1 200 OK\n",
        "HTTP/1.1 200\n",
        "HTTP/1.1 200\rX",
        "HTTP/1.1 200 OK\r\r\n",
    ] {
        bad(line, Invalid);
    }
}

/// A peer that speaks another protocol, or another version, is recognized at the first byte that is wrong.
#[test]
fn a_wrong_byte_is_refused_at_once() {
    for line in [
        "\0",
        "\n",
        " ",
        "h",
        "I",
        "HX",
        "HTP",
        "HTTX",
        "HTTPS",
        "HTTP ",
        "HTTP//",
        "HTTP/0",
        "HTTP/2",
        "HTTP/ ",
        "HTTP/1,",
        "HTTP/11",
        "HTTP/1. ",
        "HTTP/1.2",
        "HTTP/1.9",
        "HTTP/1.1\t",
        "HTTP/1.12",
        "HTTP/1.1\r",
        "HTTP/1.1  ",
        "HTTP/1.1 0",
        "HTTP/1.1 6",
        "HTTP/1.1 9",
        "HTTP/1.1 +",
        "HTTP/1.1 -",
        "HTTP/1.1 2x",
        "HTTP/1.1 2 ",
        "HTTP/1.1 20\r",
        "HTTP/1.1 20 ",
        "HTTP/1.1 2000",
        "HTTP/1.1 200O",
        "HTTP/1.1 200\t",
        "HTTP/1.1 200:",
        "\rH",
        "\r\r",
        "\r\n\n",
        "\r\n\rH",
        "\r\n H",
        "ICY 200",
        "SSH-2.0-OpenSSH",
        "\x15\x03\x01\0\x02\x02\x46",
        "220 smtp",
        "\0\0\x12\x04\0\0\0\0\0",
        "GET / HTTP/1.1",
        "PRI * HTTP/2.0",
    ] {
        bad(line, Invalid);
    }
    for line in ["HX", "HTTX", "HTTP/2", "HTTP/1.2", "HTTP/1.1 6", "HTTP/1.1 20\r", "HTTP/1.1 2000", "\rH", "\r\n\n"] {
        let before = &line.as_bytes()[..line.len() - 1];
        assert_eq!(whole(HeadAndBody, LIMITS, before).result, Ok(None), "{line}");
    }
}

#[test]
fn fields() {
    let head = good(
        HeadAndBody,
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-Empty:\r\nx-blanks: \t a b\t \r\nX-Utf8:\u{e9}\r\n!#$%&'*+-.^_`|~9: \
         odd\r\nset-cookie: a\r\nSet-Cookie: b\r\nContent-Type:text/plain;q=\"\\\"\"\r\n\r\n",
    );
    let expected = [
        ("content-length", "5"),
        ("x-empty", ""),
        ("x-blanks", "a b"),
        ("x-utf8", "\\xc3\\xa9"),
        ("!#$%&'*+-.^_`|~9", "odd"),
        ("set-cookie", "a"),
        ("set-cookie", "b"),
        ("content-type", "text/plain;q=\\\"\\\\\\\"\\\""),
    ];
    let fields: Vec<(&str, &str)> = head.fields.iter().map(|(name, value)| (&**name, &**value)).collect();
    assert_eq!(fields, expected);
    assert!(!head.hop_by_hop && head.persistent);
}

#[test]
fn malformed_fields_are_refused_at_the_end_of_their_line() {
    for line in [
        "X: a\n",
        "\n",
        "X : a\r\n",
        "X\t: a\r\n",
        " X: a\r\n",
        "\tfolded\r\n",
        ": a\r\n",
        "X\r\n",
        "X a\r\n",
        "X: a\0\r\n",
        "X: a\x7f\r\n",
        "X: a\rb\r\n",
        "X: a\r\r\n",
        "X: a\x0b\r\n",
        "X\0: a\r\n",
        "X\r: a\r\n",
        "\u{e9}: a\r\n",
        "X(: a\r\n",
        "X\": a\r\n",
        "\r X: a\r\n",
        "\r\r\n",
    ] {
        for before in ["", "A: b\r\n", "Content-Length: 5\r\n"] {
            bad_at_last_byte(format!("HTTP/1.1 200 OK\r\n{before}{line}"));
            bad_at_last_byte(format!("HTTP/1.1 103 Early Hints\r\n{before}{line}"));
        }
    }
    for byte in (0..=255_u8).filter(|byte| !matches!(byte, b'\n' | b'\r')) {
        let head = [b"HTTP/1.1 200 OK\r\nX: a".as_slice(), &[byte], b"b\r\n\r\n"].concat();
        let is_text = byte == b'\t' || (byte >= b' ' && byte != 0x7f);
        assert_eq!(whole(HeadAndBody, LIMITS, &head).result.is_ok(), is_text, "{byte}");
        let head = [b"HTTP/1.1 200 OK\r\nX".as_slice(), &[byte], b"b: a\r\n\r\n"].concat();
        let is_token = byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~:".contains(&byte);
        assert_eq!(whole(HeadAndBody, LIMITS, &head).result.is_ok(), is_token, "{byte}");
    }
}

#[test]
fn framing() {
    use ResponseFraming::{Chunked, Length, UntilClose};
    for (line, fields, body, persistent) in [
        ("HTTP/1.1 200 OK", "", UntilClose, false),
        ("HTTP/1.1 200 OK", "Content-Length: 0\r\n", Length(0), true),
        ("HTTP/1.1 200 OK", "content-length:\t007 \r\n", Length(7), true),
        ("HTTP/1.1 200 OK", "Content-Length: 9223372036854775807\r\n", Length(u64::MAX >> 1), true),
        ("HTTP/1.1 200 OK", "Transfer-Encoding: chunked\r\n", Chunked, true),
        ("HTTP/1.1 500 No", "transfer-encoding:  Chunked \r\n", Chunked, true),
        ("HTTP/1.1 205 Reset", "Content-Length: 2\r\n", Length(2), true),
        ("HTTP/1.0 200 OK", "Content-Length: 5\r\n", Length(5), false),
        ("HTTP/1.0 200 OK", "", UntilClose, false),
        ("HTTP/1.0 200 OK", "Connection: keep-alive\r\n", UntilClose, false),
        ("HTTP/1.0 200 OK", "Content-Length: 5\r\nConnection: x, Keep-Alive\r\n", Length(5), true),
        ("HTTP/1.0 200 OK", "Content-Length: 5\r\nConnection: keep-alive\r\nConnection: close\r\n", Length(5), false),
        ("HTTP/1.1 200 OK", "Content-Length: 5\r\nConnection: keep-alive\r\n", Length(5), true),
        ("HTTP/1.1 200 OK", "Content-Length: 5\r\nConnection: CLOSE\r\n", Length(5), false),
        ("HTTP/1.1 200 OK", "Content-Length: 5\r\nConnection: x\r\nconnection: y ,\tClose,\r\n", Length(5), false),
        ("HTTP/1.1 200 OK", "Content-Length: 5\r\nConnection: close, \u{e9}\r\n", Length(5), false),
        ("HTTP/1.1 200 OK", "Content-Length: 5\r\nConnection: closed, not-close\r\n", Length(5), true),
        ("HTTP/1.1 200 OK", "Content-Length: 5\r\nX-Connection: close\r\n", Length(5), true),
        ("HTTP/1.1 200 OK", "Transfer-Encoding: chunked\r\nConnection: close\r\n", Chunked, false),
        ("HTTP/1.1 204 No Content", "", Length(0), true),
        ("HTTP/1.1 204 No Content", "Content-Length: 5\r\n", Length(0), true),
        ("HTTP/1.1 304 Not Modified", "Content-Length: 5\r\n", Length(0), true),
        ("HTTP/1.1 304 Not Modified", "Transfer-Encoding: chunked\r\n", Length(0), true),
        ("HTTP/1.1 304 Not Modified", "Connection: close\r\n", Length(0), false),
        ("HTTP/1.0 304 Not Modified", "", Length(0), false),
        ("HTTP/1.1 101 Switching", "Upgrade: x\r\nConnection: upgrade\r\n", Length(0), false),
        ("HTTP/1.1 101 Switching", "Content-Length: 5\r\n", Length(0), false),
    ] {
        let head = good(HeadAndBody, &format!("{line}\r\n{fields}\r\n"));
        assert_eq!((head.framing, head.persistent), (body, persistent), "{line} {fields}");
        // A response to HEAD has no body, whatever its fields say.
        let head = good(HeadOnly, &format!("{line}\r\n{fields}\r\n"));
        assert_eq!(head.framing, Length(0), "{line} {fields}");
        assert_eq!(head.persistent, persistent || (body == UntilClose && line.contains("1.1")) || fields.len() == 24);
    }
}

#[test]
fn ambiguous_framing_is_refused_whatever_the_status() {
    for status in ["200 OK", "204 No Content", "304 Not Modified", "101 Switching", "103 Early Hints", "100 Continue"] {
        for fields in [
            "Content-Length: 1\r\nContent-Length: 1",
            "Content-Length: 1\r\nX: a\r\nContent-Length: 2",
            "Content-Length: 1, 1",
            "Content-Length: +1",
            "Content-Length: -1",
            "Content-Length: 0x1",
            "Content-Length:",
            "Content-Length: 1 1",
            "Content-Length: 1_0",
            "Content-Length: 1;x",
            "Content-Length: 9223372036854775808",
            "Content-Length: 18446744073709551616",
            "Content-Length: 00000000000000000001",
            "Content-Length: 1\r\nTransfer-Encoding: chunked",
            "Transfer-Encoding: chunked\r\nContent-Length: 1",
            "Transfer-Encoding: chunked\r\nContent-Length: 0",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
            "Transfer-Encoding: gzip, chunked",
            "Transfer-Encoding: chunked, chunked",
            "Transfer-Encoding: chunked, identity",
            "Transfer-Encoding: identity",
            "Transfer-Encoding: gzip",
            "Transfer-Encoding: xchunked",
            "Transfer-Encoding: chunked;q=1",
            "Transfer-Encoding: \"chunked\"",
            "Transfer-Encoding:",
            "Transfer_Encoding: chunked",
            "Content_Length: 5",
            "ContentLength: 5",
            "Content.Length: 5",
            "Transfer--Encoding: chunked",
            "TransferEncoding: chunked",
            "transfer'encoding: chunked",
            "-Content-Length: 5",
            "Content-Length-: 5",
            "Content-Length: 5\r\nContent_Length: 5",
        ] {
            bad(format!("HTTP/1.1 {status}\r\n{fields}\r\n\r\n"), Invalid);
        }
        bad(format!("HTTP/1.0 {status}\r\nTransfer-Encoding: chunked\r\n\r\n"), Invalid);
    }
    for name in ["X-Content-Length", "Content-Length2", "Transfer-Encodings", "Content-Encoding", "TE"] {
        good(HeadAndBody, &format!("HTTP/1.1 200 OK\r\n{name}: chunked\r\n\r\n"));
    }
}

#[test]
fn informational_heads_precede_the_final_one() {
    let heads = "HTTP/1.1 100 Continue\r\n\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\nX:\r\n\r\n\
                 HTTP/1.1 199\r\nContent-Length: 5\r\n\r\nHTTP/1.0 102 P\r\n\r\n";
    for (last, status) in [("HTTP/1.1 200 OK\r\nA: b\r\n\r\n", 200), ("HTTP/1.1 101 Switching\r\n\r\n", 101)] {
        let text = format!("{heads}{last}");
        let reading = in_every_split(HeadAndBody, LIMITS, text.as_bytes());
        let statuses: Vec<u16> = reading.informational.iter().map(|(status, _)| *status).collect();
        assert_eq!(statuses, [100, 103, 199, 102]);
        let hints = [("link", "</a>; rel=preload"), ("x", "")].map(|(name, value)| (name.into(), value.into()));
        assert_eq!(reading.informational[1].1, hints);
        let last = reading.head();
        assert_eq!((last.status, last.length), (status, text.len()));
        assert!(last.fields.len() < 2, "no field of an informational head: {:?}", last.fields);
    }
    // An informational head does not affect the framing of the final one.
    let reading = whole(
        HeadAndBody,
        LIMITS,
        b"HTTP/1.1 103 E\r\nContent-Length: 5\r\nConnection: close\r\n\r\n\
        HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    );
    let last = reading.head();
    assert_eq!((last.framing, last.persistent, last.hop_by_hop), (ResponseFraming::Chunked, true, true));
    let many = b"HTTP/1.1 103 E\r\n\r\n".repeat(100);
    assert_eq!(whole(HeadAndBody, LIMITS, &many).informational.len(), 100, "limits are those of one head");
}

#[test]
fn hop_by_hop_fields_are_reported() {
    for name in ["Connection", "Keep-Alive", "Proxy-Connection", "Transfer-Encoding", "Upgrade", "TE", "Proxy"] {
        let value = if name == "Transfer-Encoding" { "chunked" } else { "x" };
        assert!(good(HeadAndBody, &format!("HTTP/1.1 200 OK\r\n{name}: {value}\r\n\r\n")).hop_by_hop, "{name}");
    }
    for name in ["Content-Length", "Server", "X-Connection", "Trailer"] {
        assert!(!good(HeadAndBody, &format!("HTTP/1.1 200 OK\r\n{name}: 1\r\n\r\n")).hop_by_hop, "{name}");
    }
}

#[test]
fn fields_are_limited_in_number() {
    let head = |fields: usize| format!("HTTP/1.1 200 OK\r\n{}\r\n", "X: 1\r\n".repeat(fields));
    good(HeadAndBody, &head(LIMITS.fields));
    bad(head(LIMITS.fields + 1), TooLarge);
    bad(head(LIMITS.fields + 1).replace("200", "103"), TooLarge);
    let none = HeadLimits { fields: 0, ..LIMITS };
    assert!(in_every_split(HeadAndBody, none, head(0).as_bytes()).result.is_ok());
    assert_eq!(in_every_split(HeadAndBody, none, head(1).as_bytes()).result, Err(TooLarge));
    // More than a map of fields can hold.
    let all = HeadLimits { bytes: usize::MAX, fields: usize::MAX };
    assert_eq!(whole(HeadAndBody, all, head(24_576).as_bytes()).head().fields.len(), 24_576);
    assert_eq!(whole(HeadAndBody, all, head(24_577).as_bytes()).result, Err(TooLarge));
}

#[test]
fn bytes_are_limited() {
    let head = |value: usize| format!("\r\nHTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "y".repeat(value));
    let most = LIMITS.bytes - head(0).len();
    assert_eq!(good(HeadAndBody, &head(most)).length, LIMITS.bytes);
    bad(head(most + 1), TooLarge);
    // An incomplete head at the limit cannot become complete within it.
    let long = head(2 * most);
    assert_eq!(whole(HeadAndBody, LIMITS, &long.as_bytes()[..LIMITS.bytes - 1]).result, Ok(None));
    assert_eq!(whole(HeadAndBody, LIMITS, &long.as_bytes()[..LIMITS.bytes]).result, Err(TooLarge));
    bad("\r\n".repeat(LIMITS.bytes / 2), TooLarge);
    bad(format!("HTTP/1.1 200 {}", "y".repeat(LIMITS.bytes)), TooLarge);
    // Errors beyond the limit do not count; those before it do.
    bad(format!("{}\0\r\n", &head(most + 1)[..=LIMITS.bytes]), TooLarge);
    bad(format!("HTTP/1.1 200 OK\r\n\0\r\n{}", "y".repeat(LIMITS.bytes)), Invalid);
    for limit in 0..60 {
        let limits = HeadLimits { bytes: limit, fields: 1 };
        for bytes in
            [&b"HTTP/1.1 200 OK\r\nX: y\r\n\r\n"[..], b"\r\n\r\nHTTP/1.1 200\r\n\r\n", b"HTTP/2.0 200 OK\r\n\r\n"]
        {
            in_every_split(HeadAndBody, limits, bytes);
        }
    }
    // A name that no map of fields can hold.
    let all = HeadLimits { bytes: usize::MAX, fields: 1 };
    let named = |bytes: usize| format!("HTTP/1.1 200 OK\r\n{}: a\r\n\r\n", "n".repeat(bytes));
    assert!(whole(HeadAndBody, all, named(65_535).as_bytes()).result.is_ok());
    assert_eq!(whole(HeadAndBody, all, named(65_536).as_bytes()).result, Err(TooLarge));
}

/// A byte is looked at when it arrives, and again when its line is complete; the first byte of a line twice when it
/// arrives.
#[test]
fn a_head_a_byte_at_a_time_costs_no_more_than_its_length() {
    let limits = HeadLimits { bytes: 1 << 20, fields: 10_000 };
    let long = "x".repeat(60 * 1024);
    for (fields, count) in [(format!("x-field: {long}\r\n"), 1), ("x-field: some value\r\n".repeat(1000), 1000)] {
        let head = format!("HTTP/1.1 200 OK\r\n{fields}\r\n");
        let mut scanner = ResponseHeadScanner::new(limits);
        scanner.begin(HeadAndBody);
        for end in 1..head.len() {
            assert_eq!(scanner.scan(&head.as_bytes()[..end]), Ok(HeadProgress::Partial));
            let most = 3 * head.len();
            assert!(scanner.looked_at <= most, "{} bytes looked at of {end} that arrived", scanner.looked_at);
        }
        assert_eq!(scanner.scan(head.as_bytes()), Ok(HeadProgress::Final(head.len())));
        assert_eq!(scanner.fields.len(), count);
        let looked_at = scanner.looked_at;
        assert!((head.len()..=3 * head.len()).contains(&looked_at), "{looked_at} bytes looked at of {}", head.len());
    }
}

#[test]
fn a_scanner_is_used_again() {
    let mut scanner = ResponseHeadScanner::new(LIMITS);
    let first = Bytes::from_static(b"HTTP/1.0 304 N\r\nConnection: keep-alive\r\nContent-Length: 5\r\nA: b\r\n\r\n");
    let second = Bytes::from_static(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    scanner.begin(HeadOnly);
    assert_eq!(scanner.status(), 0);
    assert_eq!(scanner.scan(&first), Ok(HeadProgress::Final(first.len())));
    scanner.begin(ExpectedResponse::of(&Method::GET));
    assert_eq!(scanner.keep(&second), Err(Invalid), "no head has been scanned");
    assert_eq!(scanner.scan(&second[..20]), Ok(HeadProgress::Partial));
    assert_eq!(scanner.scan(&second), Ok(HeadProgress::Final(second.len())));
    assert_eq!(scanner.keep(&second[..20]), Err(Invalid), "fewer bytes than were scanned");
    scanner.keep(&second).unwrap();
    let head = scanner.take_head().unwrap();
    assert_eq!((head.fields.len(), head.framing, head.version), (1, ResponseFraming::Chunked, Version::HTTP_11));
}

#[test]
fn the_method_decides_what_is_expected() {
    assert_eq!(ExpectedResponse::of(&Method::HEAD), HeadOnly);
    assert_eq!(ExpectedResponse::of(&Method::GET), HeadAndBody);
    assert_eq!(ExpectedResponse::of(&Method::OPTIONS), HeadAndBody);
}

/// Pieces of heads, and bytes that are wrong in them.
fn part() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => prop::sample::select(vec![
            "HTTP/1.1 200 OK\r\n", "HTTP/1.0 404\r\n", "HTTP/1.1 103 E\r\n", "HTTP/1.1 101 S\r\n", "\r\n", "X: y\r\n",
            "Content-Length: 3\r\n", "Transfer-Encoding: chunked\r\n", "Connection: close\r\n", "HTTP/1.", "200", " ",
            "\r", "\n", "\0", ":", "content-length", "transfer_encoding: a\r\n", "A: b\r\n\r\n",
        ]).prop_map(|text| text.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..6),
    ]
}

proptest! {
    #[test]
    fn any_bytes_read_the_same_in_any_pieces(
        parts in prop::collection::vec(part(), 0..12),
        ends in prop::collection::vec(0..200_usize, 0..6),
        bytes in 1..120_usize,
        fields in 0..6_usize,
        is_head in any::<bool>(),
    ) {
        let input = parts.concat();
        let expected = if is_head { HeadOnly } else { HeadAndBody };
        let limits = HeadLimits { bytes, fields };
        let reading = whole(expected, limits, &input);
        prop_assert_eq!(&read(expected, limits, &input, 1..=input.len()), &reading);
        let mut ends: Vec<usize> = ends.into_iter().map(|end| end.min(input.len())).collect();
        ends.push(input.len());
        ends.sort_unstable();
        prop_assert_eq!(&read(expected, limits, &input, ends.into_iter()), &reading);
        if let Ok(Some(head)) = reading.result {
            prop_assert!(head.length <= input.len() && head.fields.len() <= fields);
            prop_assert_eq!(whole(expected, limits, &input[..head.length]).head(), head);
        }
    }
}
