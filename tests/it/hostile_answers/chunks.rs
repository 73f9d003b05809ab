//! Chunked bodies: sizes, extensions, trailers and ends.

use super::row::{Row, chunked, cut_chunks, passes};

/// A client of HTTP/2 takes as many small frames for a flood: the proxy joins small chunks.
const SMALL_CHUNKS: usize = 10_000;

fn sizes() -> Vec<Row> {
    let large = "x".repeat(1 << 20);
    vec![
        passes(
            "many chunks of one byte",
            chunked("1\r\nx\r\n".repeat(SMALL_CHUNKS) + "0\r\n\r\n"),
            "x".repeat(SMALL_CHUNKS),
        ),
        passes("a chunk of 1 MiB", chunked(format!("100000\r\n{large}\r\n0\r\n\r\n")), &large),
        passes("a size in capitals", chunked("A\r\n0123456789\r\n0\r\n\r\n"), "0123456789"),
        passes("a size of 15 digits", chunked("000000000000002\r\nok\r\n000\r\n\r\n"), "ok"),
        cut_chunks("a size of 16 digits", "0000000000000002\r\nok\r\n0\r\n\r\n", ""),
        cut_chunks("an endless size", "", "").endlessly("0".repeat(1000)),
        cut_chunks("a size with a prefix", "0x2\r\nok\r\n0\r\n\r\n", ""),
        cut_chunks("a size with a sign", "2\r\nok\r\n+2\r\nok\r\n0\r\n\r\n", "ok"),
        cut_chunks("a negative size", "2\r\nok\r\n-2\r\nok\r\n0\r\n\r\n", "ok"),
        cut_chunks("a blank before a size", "2\r\nok\r\n 2\r\nok\r\n0\r\n\r\n", "ok"),
        cut_chunks("no size", "2\r\nok\r\n\r\n2\r\nok\r\n0\r\n\r\n", "ok"),
        cut_chunks("a list of sizes", "2,2\r\nok\r\n0\r\n\r\n", ""),
        cut_chunks("two numbers in a size", "2\r\nok\r\n2 2\r\nok\r\n0\r\n\r\n", "ok"),
        cut_chunks("a word behind a size", "2\r\nok\r\n2\tx\r\nok\r\n0\r\n\r\n", "ok"),
        cut_chunks("more data than the size", "2\r\nokay\r\n0\r\n\r\n", "ok"),
        cut_chunks("no line end behind the data", "2\r\nok2\r\nok\r\n0\r\n\r\n", "ok"),
        cut_chunks("a chunk of 2^59 bytes that ends", "800000000000000\r\nok", "ok").finish(),
    ]
}

fn extensions() -> Vec<Row> {
    let tiny = |count: usize| format!("1;{}\r\nx\r\n", "e".repeat(199)).repeat(count);
    vec![
        passes("an extension of 16 000 bytes", chunked(format!("2;{}\r\nok\r\n0\r\n\r\n", "e".repeat(16_000))), "ok"),
        cut_chunks("an extension of 17 000 bytes", format!("2;{}\r\nok\r\n0\r\n\r\n", "e".repeat(17_000)), ""),
        cut_chunks("an endless extension", "2;", "").endlessly("e".repeat(1000)),
        cut_chunks("a flood of small extensions", tiny(SMALL_CHUNKS) + "0\r\n\r\n", "x".repeat(SMALL_CHUNKS)),
        cut_chunks("a line end in a quoted extension", "2;x=\"a\r\n\"\r\nok\r\n0\r\n\r\n", "\"\r"),
        cut_chunks("NUL in an extension", b"2;\0\r\nok\r\n0\r\n\r\n", ""),
        cut_chunks("CR in an extension", "2;a\rb\r\nok\r\n0\r\n\r\n", ""),
    ]
}

fn trailers() -> Vec<Row> {
    let body = |trailers: &str| format!("2\r\nok\r\n0\r\n{trailers}\r\n");
    let lines = |count: usize| "x: 1\r\n".repeat(count);
    let forbidden = "content-length: 9\r\ntransfer-encoding: gzip\r\nhost: evil\r\nset-cookie: evil\r\nx-sum: 1\r\n";
    let most = (0..32)
        .fold(passes("as many trailers as are read", chunked(body(&lines(100))), "ok"), |row, _| row.trailer("x", "1"));
    vec![
        passes("a trailer", chunked(body("x-sum:  1 \r\n")), "ok").trailer("x-sum", "1"),
        passes("trailers that may be none", chunked(body(forbidden)), "ok").trailer("x-sum", "1"),
        most,
        cut_chunks("one trailer more than is read", body(&lines(101)), "ok"),
        cut_chunks("trailers of 17 000 bytes", body(&format!("x: {}\r\n", "y".repeat(17_000))), "ok"),
        cut_chunks("an endless trailer", "2\r\nok\r\n0\r\nx: ", "ok").endlessly("y".repeat(1000)),
        cut_chunks("a trailer without a colon", body("nonsense\r\n"), "ok"),
        cut_chunks("a blank before the colon of a trailer", body("x : 1\r\n"), "ok"),
        cut_chunks("a folded trailer", body("x: 1\r\n 2\r\n"), "ok"),
        cut_chunks("NUL in a trailer", body("x: \0\r\n"), "ok"),
        cut_chunks("an answer as a trailer", body("HTTP/1.1 200 OK\r\n"), "ok"),
        passes("chunks and a trailer a byte at a time", chunked(body("x-sum: 1\r\n")), "ok")
            .trailer("x-sum", "1")
            .slowly(),
    ]
}

fn ends() -> Vec<Row> {
    vec![
        passes("a second answer behind the chunks", chunked("2\r\nok\r\n0\r\n\r\nHTTP/1.1 200 OK\r\n\r\nevil"), "ok")
            .closed(),
        passes("chunks behind the last chunk", chunked("2\r\nok\r\n0\r\n\r\n4\r\nevil\r\n0\r\n\r\n"), "ok").closed(),
        passes("an end behind the chunks", chunked("2\r\nok\r\n0\r\n\r\n"), "ok").finish(),
        cut_chunks("a reset within a chunk", "5\r\nok", "ok").reset(),
        cut_chunks("an end within a size", "2\r\nok\r\n1", "ok").finish(),
        cut_chunks("an end within a trailer", "2\r\nok\r\n0\r\nx-sum: 1", "ok").finish(),
        cut_chunks("an end before the last LF", "2\r\nok\r\n0\r\n\r", "ok").finish(),
        cut_chunks("an end instead of chunks", "", "").finish(),
        passes("chunks in two parts", chunked("2\r\nok\r\n"), "okay").after_head("2\r\nay\r\n0\r\n\r\n"),
    ]
}

/// All of them.
pub fn rows() -> Vec<Row> {
    [sizes(), extensions(), trailers(), ends()].concat()
}
