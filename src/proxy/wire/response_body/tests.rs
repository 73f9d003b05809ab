//! Bodies of responses: tables of good and bad ones, each in every split; bounds at their edge; laws over any bytes.

use bytes::Bytes;
use proptest::prelude::*;

use super::super::chunked_body::{JOINED_BYTES_MAX, SMALL_CHUNK_BYTES};
use super::{BodyPiece, ResponseBodyDecoder};
use super::{MalformedResponse, ResponseFraming};
use MalformedResponse::{Invalid, TooLarge};
use ResponseFraming::{Chunked, Length, UntilClose};

/// All that a caller learns from the bytes of one body.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Reading {
    content: Vec<u8>,
    trailers: Option<Vec<(String, String)>>,
    /// Bytes taken, and whether the body has ended.
    result: Result<(usize, bool), MalformedResponse>,
    /// Whether the body is complete if the connection ends now.
    complete: Result<(), MalformedResponse>,
}

fn text(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

/// Reads a body that arrives in pieces which end at these indices.
fn read(framing: ResponseFraming, bytes: &[u8], ends: impl Iterator<Item = usize>) -> Reading {
    let mut decoder = ResponseBodyDecoder::new(framing);
    let mut reading = Reading { content: Vec::new(), trailers: None, result: Ok((0, false)), complete: Ok(()) };
    let (mut input, mut at) = (Bytes::new(), 0);
    'pieces: for end in ends {
        assert!(input.is_empty() || decoder.is_ended(), "input is left before the end");
        input = Bytes::from([&input[..], &bytes[at..end]].concat());
        at = end;
        loop {
            let (before, left, was_ended) = (input.len(), decoder.left(), decoder.is_ended());
            match decoder.next(&mut input) {
                Ok(Some(BodyPiece::Data(data))) => {
                    assert!(!data.is_empty() && reading.trailers.is_none());
                    if let Some(left) = left {
                        assert_eq!(decoder.left(), Some(left - data.len() as u64));
                    }
                    reading.content.extend_from_slice(&data);
                }
                Ok(Some(BodyPiece::Trailers(fields))) => {
                    assert!(!fields.is_empty() && reading.trailers.is_none() && decoder.is_ended());
                    let fields = fields.iter().map(|(name, value)| (name.to_string(), text(value.as_bytes())));
                    reading.trailers = Some(fields.collect());
                }
                Ok(None) => {
                    assert!(!was_ended || before == input.len(), "nothing behind the end is taken");
                    break;
                }
                Err(malformed) => {
                    assert_eq!(decoder.next(&mut input), Err(malformed), "the same again");
                    assert!(!decoder.is_ended());
                    reading.result = Err(malformed);
                    break 'pieces;
                }
            }
        }
    }
    if reading.result.is_ok() {
        reading.result = Ok((at - input.len(), decoder.is_ended()));
        let rest = input.len();
        assert_eq!(decoder.next(&mut input), Ok(None));
        assert_eq!(input.len(), rest, "nothing behind the end is taken");
    }
    reading.complete = decoder.end_of_input();
    if reading.complete.is_ok() {
        assert!(decoder.is_ended() && decoder.left() == Some(0));
    }
    reading
}

fn whole(framing: ResponseFraming, bytes: &[u8]) -> Reading {
    read(framing, bytes, std::iter::once(bytes.len()))
}

/// Reads a body in one piece, byte by byte, and in two pieces at every index: the result is the same.
#[track_caller]
fn in_every_split(framing: ResponseFraming, bytes: &[u8]) -> Reading {
    let reading = whole(framing, bytes);
    assert_eq!(read(framing, bytes, 1..=bytes.len()), reading, "{} byte by byte", text(bytes));
    for split in 1..bytes.len() {
        assert_eq!(read(framing, bytes, [split, bytes.len()].into_iter()), reading, "{} split at {split}", text(bytes));
    }
    reading
}

/// The body ends at the last byte, with this content and these trailers. Every part of it is incomplete.
#[track_caller]
fn good(framing: ResponseFraming, body: &str, content: &str, trailers: Option<&[(&str, &str)]>) {
    let body = body.as_bytes();
    let trailers = trailers.map(|fields| {
        let fields = fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        fields.collect::<Vec<_>>()
    });
    let expected = Reading { content: content.into(), trailers, result: Ok((body.len(), true)), complete: Ok(()) };
    assert_eq!(in_every_split(framing, body), expected, "{}", text(body));
    let followed = [body, b"HTTP/1.1 200 OK\r\n\r\n\0\n"].concat();
    assert_eq!(in_every_split(framing, &followed), expected, "{}", text(&followed));
    for end in 0..body.len() {
        let reading = whole(framing, &body[..end]);
        assert_eq!((reading.result, reading.complete), (Ok((end, false)), Err(Invalid)), "{}", text(&body[..end]));
        assert!(content.as_bytes().starts_with(&reading.content));
    }
}

/// The body is refused at its last byte, not before, and this content precedes the error.
#[track_caller]
fn bad(body: impl AsRef<[u8]>, content: &str, malformed: MalformedResponse) {
    let body = body.as_ref();
    let reading = in_every_split(Chunked, body);
    assert_eq!((reading.result, reading.complete), (Err(malformed), Err(malformed)), "{}", text(body));
    assert_eq!((text(&reading.content), reading.trailers), (content.into(), None), "{}", text(body));
    let before = whole(Chunked, &body[..body.len() - 1]).result;
    assert_eq!(before, Ok((body.len() - 1, false)), "{}", text(body));
    let followed = [body, b"\r\n0\r\n\r\n"].concat();
    assert_eq!(whole(Chunked, &followed).result, Err(malformed), "{}", text(body));
}

#[test]
fn sized_bodies() {
    good(Length(0), "", "", None);
    good(Length(1), "a", "a", None);
    good(Length(5), "he\nlo", "he\nlo", None);
    let mut input = Bytes::from_static(b"hello, next");
    let mut decoder = ResponseBodyDecoder::new(Length(5));
    assert_eq!((decoder.left(), decoder.is_ended()), (Some(5), false));
    let place = input.as_ptr();
    let piece = decoder.next(&mut input).unwrap().unwrap();
    assert!(matches!(&piece, BodyPiece::Data(data) if data == "hello" && data.as_ptr() == place), "not copied");
    assert!(decoder.is_ended(), "known with the last piece");
    assert_eq!((decoder.left(), &input[..]), (Some(0), &b", next"[..]));
    let largest = ResponseBodyDecoder::new(Length(u64::MAX)).next(&mut input).unwrap();
    assert_eq!(largest, Some(BodyPiece::Data(Bytes::from_static(b", next"))));
}

#[test]
fn bodies_until_the_end_of_the_connection() {
    for body in ["", "a", "HTTP/1.1 200 OK\r\n\r\n\0"] {
        let reading = in_every_split(UntilClose, body.as_bytes());
        let expected =
            Reading { content: body.into(), trailers: None, result: Ok((body.len(), false)), complete: Ok(()) };
        assert_eq!(reading, expected, "{body:?}");
    }
    assert_eq!(ResponseBodyDecoder::new(UntilClose).left(), None);
}

#[test]
fn chunked_bodies() {
    good(Chunked, "0\r\n\r\n", "", None);
    good(Chunked, "000\r\n\r\n", "", None);
    good(Chunked, "5\r\nhello\r\n0\r\n\r\n", "hello", None);
    good(Chunked, "5\r\nhello\r\n3\r\n\r\n0\r\n0\r\n\r\n", "hello\r\n0", None);
    good(Chunked, "A\r\n0123456789\r\na\r\nABCDEFGHIJ\r\n0\r\n\r\n", "0123456789ABCDEFGHIJ", None);
    good(Chunked, "1;x=\"y\t\u{e9}\"\r\na\r\n0;last\r\n\r\n", "a", None);
    good(Chunked, "1  \t\r\na\r\n0 \r\n\r\n", "a", None);
    good(Chunked, "1 ;x\r\na\r\n0\t;\r\n\r\n", "a", None);
    good(Chunked, "00000000000000f\r\n0123456789abcde\r\n0\r\n\r\n", "0123456789abcde", None);
}

#[test]
fn trailers() {
    good(Chunked, "0\r\nX-Sum: 1\r\n\r\n", "", Some(&[("x-sum", "1")]));
    good(Chunked, "1\r\na\r\n0\r\nX-Sum: 1\r\n\r\n", "a", Some(&[("x-sum", "1")]));
    good(
        Chunked,
        "1\r\na\r\n1\r\nb\r\n0\r\nA:\r\nB: \t x y \t\r\nb:z:\u{e9}\r\n!: \"\r\n\r\n",
        "ab",
        Some(&[("a", ""), ("b", "x y"), ("b", "z:\\xc3\\xa9"), ("!", "\\\"")]),
    );
    // The last data come first; the caller sees that trailers follow.
    let mut input = Bytes::from_static(b"1\r\na\r\n0\r\nA: b\r\n\r\nnext");
    let mut decoder = ResponseBodyDecoder::new(Chunked);
    assert_eq!(decoder.next(&mut input), Ok(Some(BodyPiece::Data(Bytes::from_static(b"a")))));
    assert!(!decoder.is_ended() && &input[..] == b"next");
    assert!(decoder.end_of_input().is_ok(), "the body is complete");
    let trailers = decoder.next(&mut Bytes::new()).unwrap().unwrap();
    assert!(matches!(&trailers, BodyPiece::Trailers(fields) if fields["a"] == "b"));
    assert!(decoder.is_ended());
}

#[test]
fn malformed_chunks_are_refused() {
    for line in [
        "\r",
        "\n",
        "x",
        ";",
        " ",
        "+",
        "-",
        "5\n",
        "5x",
        "0x",
        "5 5",
        "5 x",
        "5\t\n",
        "5\rx",
        "5;\0",
        "5;\n",
        "5;a\rb",
        "5; \x7f",
        "5\r\r",
        "0000000000000000",
        "1000000000000000",
        "5\r\nhello5",
        "5\r\nhello\n",
        "5\r\nhello\r5",
    ] {
        let content = if line.contains("hello") { "hello" } else { "" };
        bad(line, content, Invalid);
        bad(format!("2\r\nab\r\n{line}"), &format!("ab{content}"), Invalid);
    }
    for line in ["\n", "\rx", " ", "\t", ":", "\0", "X\r", "X\n", "X ", "X\t", "X: a\n", "X: \0", "X: a\rb", "X\u{e9}"]
    {
        let line = if line == "X\u{e9}" { b"X\xc3".as_slice() } else { line.as_bytes() };
        bad([b"0\r\n", line].concat(), "", Invalid);
        bad([b"2\r\nab\r\n0\r\nA: b\r\n", line].concat(), "ab", Invalid);
    }
}

#[test]
fn bounds_of_chunked_bodies() {
    let trailers = |count: usize| format!("0\r\n{}\r\n", "x: 1\r\n".repeat(count));
    let reading = whole(Chunked, trailers(100).as_bytes());
    assert_eq!(reading.trailers.map(|fields| fields.len()), Some(100));
    assert_eq!(whole(Chunked, trailers(101).as_bytes()).result, Err(TooLarge));
    let trailer = |bytes: usize| format!("0\r\nx:{}\r\n\r\n", "y".repeat(bytes - 1));
    assert_eq!(whole(Chunked, trailer(16 * 1024).as_bytes()).result, Ok((16 * 1024 + 8, true)));
    assert_eq!(whole(Chunked, trailer(16 * 1024 + 1).as_bytes()).result, Err(TooLarge));
    // Over the whole body: two chunks with the half each.
    let extensions = |bytes: usize| format!("1;{}\r\na\r\n0;{}\r\n\r\n", "e".repeat(8 * 1024), "e".repeat(bytes));
    assert_eq!(whole(Chunked, extensions(8 * 1024 - 1).as_bytes()).result, Ok((16 * 1024 + 12, true)));
    assert_eq!(whole(Chunked, extensions(8 * 1024).as_bytes()).result, Err(Invalid));
    // In each size line of its own.
    let blanks = |first: usize, last: usize| format!("1{}\r\na\r\n0{}", " ".repeat(first), "\t".repeat(last));
    for end in ["\r\n\r\n", ";e\r\n\r\n"] {
        good(Chunked, &format!("{}{end}", blanks(256, 256)), "a", None);
    }
    bad(blanks(0, 257), "a", Invalid);
    bad(blanks(256, 257), "a", Invalid);
    bad(format!("1{}", " ".repeat(257)), "", Invalid);
    // The largest chunk: it never ends.
    let reading = whole(Chunked, b"fffffffffffffff\r\nabc");
    assert_eq!((reading.result, &reading.content[..]), (Ok((20, false)), &b"abc"[..]));
}

/// Some servers pad each chunk size to a fixed width. Blanks do not add up over the body.
#[test]
fn a_long_body_may_have_padded_sizes() {
    let body = format!("{}0    \r\n\r\n", "1    \r\na\r\n".repeat(10_000));
    let reading = whole(Chunked, body.as_bytes());
    assert_eq!((reading.result, reading.content.len()), (Ok((body.len(), true)), 10_000));
}

/// The sizes of the pieces of a body in chunks of these sizes that arrives in one input.
fn pieces(chunks: &[usize]) -> Vec<usize> {
    let mut body: Vec<u8> = Vec::new();
    for size in chunks {
        body.extend_from_slice(format!("{size:x}\r\n{}\r\n", "a".repeat(*size)).as_bytes());
    }
    body.extend_from_slice(b"0\r\n\r\nnext");
    let mut input = Bytes::from(body);
    let mut decoder = ResponseBodyDecoder::new(Chunked);
    let mut sizes = Vec::new();
    while let Some(piece) = decoder.next(&mut input).unwrap() {
        assert!(!decoder.is_ended() || input == "next");
        sizes.push(if let BodyPiece::Data(data) = piece { data.len() } else { 0 });
    }
    assert!(decoder.is_ended() && input == "next");
    sizes
}

#[test]
fn small_chunks_are_joined() {
    let small = SMALL_CHUNK_BYTES;
    assert!(pieces(&[]).is_empty());
    assert_eq!(pieces(&[1]), [1]);
    assert_eq!(pieces(&[1; 1000]), [1000]);
    assert_eq!(pieces(&[100; 1000]), [[16_300; 6].as_slice(), &[2200]].concat());
    assert_eq!(pieces(&[small; 5]), [JOINED_BYTES_MAX, small]);
    assert_eq!(pieces(&[small, small + 1, 1, 1]), [small, small + 1, 2]);
    assert_eq!(pieces(&[100_000, 100_000]), [100_000, 100_000]);
    assert_eq!(pieces(&[1, 2, 100_000, 3]), [3, 100_000, 3]);
}

#[test]
fn large_chunks_are_not_copied() {
    let body = format!("ffff\r\n{}\r\n0\r\n\r\n", "a".repeat(0xffff));
    let mut input = Bytes::from(body);
    let place = input[6..].as_ptr();
    let mut decoder = ResponseBodyDecoder::new(Chunked);
    let piece = decoder.next(&mut input).unwrap().unwrap();
    assert!(matches!(piece, BodyPiece::Data(data) if data.as_ptr() == place && data.len() == 0xffff));
    assert!(decoder.is_ended() && input.is_empty(), "the end is known with the last piece");
}

/// Pieces of chunked bodies, and bytes that are wrong in them.
fn part() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        6 => prop::sample::select(vec![
            "3\r\nabc\r\n", "1;x\r\na\r\n", "2 \r\n\r\n\r\n", "0\r\n", "\r\n", "X: y\r\n", "0\r\n\r\n", "5", "\r", "\n",
            "0\r\nA: b\r\n\r\n", "next",
        ]).prop_map(|text| text.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..4),
    ]
}

proptest! {
    #[test]
    fn any_bytes_read_the_same_in_any_pieces(
        parts in prop::collection::vec(part(), 0..12),
        ends in prop::collection::vec(0..100_usize, 0..6),
        kind in 0..3_u8,
        length in 0..60_u64,
    ) {
        let input = parts.concat();
        let framing = match kind {
            0 => Length(length),
            1 => UntilClose,
            _ => Chunked,
        };
        let reading = whole(framing, &input);
        prop_assert_eq!(&read(framing, &input, 1..=input.len()), &reading);
        let mut ends: Vec<usize> = ends.into_iter().map(|end| end.min(input.len())).collect();
        ends.push(input.len());
        ends.sort_unstable();
        prop_assert_eq!(&read(framing, &input, ends.into_iter()), &reading);
        if let Ok((taken, true)) = reading.result {
            prop_assert_eq!(whole(framing, &input[..taken]), reading);
        }
    }
}
