//! Formats access log lines: a JSON object or a line of the common log format, appended byte by byte without
//! allocating.
//!
//! A request is exactly one line, whatever a client sends: control characters (also DEL, the C1 set and the two Unicode
//! line separators, which terminals and some readers interpret) are escaped in both formats. Absent values are left out
//! of the JSON object.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::{AccessEntry, EndedBy};

const SECONDS_A_DAY: u64 = 86_400;
const MONTHS: [&[u8; 3]; 12] =
    [b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"];
const HEX: &[u8; 16] = b"0123456789abcdef";

/// Whether a byte needs no escape in either format. Bytes that can start an escaped character are not plain.
const PLAIN: [bool; 256] = {
    let mut plain = [false; 256];
    let mut byte = 0x20;
    while byte < 256 {
        plain[byte] = !matches!(byte, 0x22 | 0x5c | 0x7f | 0xc2 | 0xe2);
        byte += 1;
    }
    plain
};

/// The last formatted second, so that a busy worker formats a date once a second.
#[derive(Clone, Debug)]
pub(super) struct Stamp {
    second: u64,
    date: Date,
}

impl Default for Stamp {
    fn default() -> Self {
        Self { second: 0, date: Date::of(0) }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Date {
    year: u64,
    month: u64,
    day: u64,
    hour: u64,
    minute: u64,
    second: u64,
}

impl Date {
    /// The UTC date of a Unix time, by Howard Hinnant's `civil_from_days` (for years from 1970).
    fn of(unix_seconds: u64) -> Self {
        let (days, rest) = (unix_seconds / SECONDS_A_DAY, unix_seconds % SECONDS_A_DAY);
        let shifted = days + 719_468;
        let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
        let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * day_of_year + 2) / 153;
        debug_assert!(month_from_march < 12 && day_of_year < 366, "a day of a year that starts in March");
        let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
        Self {
            year: year_of_era + era * 400 + u64::from(month <= 2),
            month,
            day: day_of_year - (153 * month_from_march + 2) / 5 + 1,
            hour: rest / 3_600,
            minute: rest / 60 % 60,
            second: rest % 60,
        }
    }
}

impl Stamp {
    fn date(&mut self, at: Duration) -> Date {
        if self.second != at.as_secs() {
            *self = Self { second: at.as_secs(), date: Date::of(at.as_secs()) };
        }
        self.date
    }
}

/// Appends a JSON object and a line feed.
pub(super) fn json(out: &mut Vec<u8>, stamp: &mut Stamp, entry: &AccessEntry<'_>) {
    out.extend_from_slice(b"{\"time\":\"");
    rfc3339(out, stamp.date(entry.at), entry.at.subsec_millis());
    out.push(b'"');
    text(out, "request_id", entry.request_id);
    key(out, "client_ip");
    quoted(out, |out| ip(out, entry.client_ip));
    key(out, "peer");
    quoted(out, |out| socket(out, entry.peer));
    if let Some(sender) = entry.sender {
        key(out, "sender");
        quoted(out, |out| socket(out, sender));
    }
    text(out, "method", entry.method);
    text(out, "host", entry.host);
    text(out, "path", entry.path);
    text(out, "protocol", entry.protocol);
    text(out, "listener", entry.listener);
    if let Some(tls) = &entry.tls {
        text(out, "tls_version", tls.version);
        text(out, "tls_cipher", tls.cipher);
        tls.sni.inspect(|name| text(out, "sni", name));
        tls.client.inspect(|subject| text(out, "client_cert", subject));
    }
    integer(out, "status", u64::from(entry.status));
    entry.grpc_status.inspect(|code| integer(out, "grpc_status", u64::from(*code)));
    integer(out, "request_bytes", entry.request_bytes);
    integer(out, "response_bytes", entry.response_bytes);
    milliseconds(out, "duration_ms", entry.total);
    entry.first_byte.inspect(|took| milliseconds(out, "first_byte_ms", *took));
    entry.upstream_latency.inspect(|took| milliseconds(out, "upstream_ms", *took));
    json_decision(out, entry);
    key(out, "termination");
    quoted(out, |out| out.extend_from_slice(&termination(entry)));
    if !entry.detail.is_empty() {
        text(out, "detail", entry.detail);
    }
    entry.limit.inspect(|name| text(out, "limit", name));
    if let Some(place) = &entry.rule {
        key(out, "rule");
        quoted(out, |out| {
            escaped(out, &place.file, Escape::Json);
            out.push(b':');
            decimal(out, u64::from(place.line));
        });
    }
    entry.event.inspect(|event| text(out, "event", event.name()));
    entry.trace_id.inspect(|id| text(out, "trace_id", id));
    out.extend_from_slice(b"}\n");
}

fn json_decision(out: &mut Vec<u8>, entry: &AccessEntry<'_>) {
    entry.route.inspect(|name| text(out, "route", name));
    entry.variant.inspect(|name| text(out, "variant", name));
    entry.reason.inspect(|name| text(out, "reason", name));
    entry.bucket.inspect(|bucket| integer(out, "bucket", u64::from(*bucket)));
    entry.tenant.inspect(|tenant| text(out, "tenant", tenant));
    entry.token.inspect(|fault| text(out, "token", fault));
    integer(out, "generation", entry.generation);
    entry.upstream.inspect(|name| text(out, "upstream", name));
    if let Some(endpoint) = entry.endpoint {
        key(out, "endpoint");
        quoted(out, |out| socket(out, endpoint));
    }
    integer(out, "attempts", u64::from(entry.attempts));
    if !entry.tries.is_empty() {
        key(out, "tries");
        for (at, failed) in entry.tries.iter().enumerate() {
            out.extend_from_slice(if at == 0 { b"[{\"endpoint\":" } else { b",{\"endpoint\":" });
            quoted(out, |out| socket(out, failed.endpoint));
            text(out, "why", failed.why);
            out.push(b'}');
        }
        out.push(b']');
    }
    if !entry.retry_end.is_empty() {
        text(out, "retry_end", entry.retry_end);
    }
    if entry.is_last_resort {
        key(out, "last_resort");
        out.extend_from_slice(b"true");
    }
}

/// Appends a line of the common log format, with the escapes of Apache.
pub(super) fn common(out: &mut Vec<u8>, stamp: &mut Stamp, entry: &AccessEntry<'_>) {
    let date = stamp.date(entry.at);
    ip(out, entry.client_ip);
    out.extend_from_slice(b" - - [");
    padded(out, date.day, 2);
    out.push(b'/');
    out.extend_from_slice(
        usize::try_from(date.month - 1).ok().and_then(|month| MONTHS.get(month)).map_or(b"???", |m| *m),
    );
    out.push(b'/');
    padded(out, date.year, 4);
    for part in [date.hour, date.minute, date.second] {
        out.push(b':');
        padded(out, part, 2);
    }
    out.extend_from_slice(b" +0000] \"");
    escaped(out, entry.method, Escape::Hex);
    out.push(b' ');
    escaped(out, entry.path, Escape::Hex);
    out.push(b' ');
    escaped(out, entry.protocol, Escape::Hex);
    out.extend_from_slice(b"\" ");
    padded(out, u64::from(entry.status), 3);
    out.push(b' ');
    if entry.response_bytes == 0 {
        out.push(b'-');
    } else {
        decimal(out, entry.response_bytes);
    }
    out.push(b'\n');
}

fn termination(entry: &AccessEntry<'_>) -> [u8; 2] {
    let ender = match entry.termination.ender {
        EndedBy::Done => b'-',
        EndedBy::Client => b'C',
        EndedBy::Upstream => b'U',
        EndedBy::Proxy => b'P',
    };
    let stage = match entry.termination.stage {
        stage @ ('R' | 'D' | 'C' | 'H' | 'B' | 'T') => stage as u8,
        '\0'..='A' | 'E'..='G' | 'I'..='Q' | 'S' | 'U'..=char::MAX => b'-',
    };
    [ender, stage]
}

fn rfc3339(out: &mut Vec<u8>, date: Date, millis: u32) {
    padded(out, date.year, 4);
    out.push(b'-');
    padded(out, date.month, 2);
    out.push(b'-');
    padded(out, date.day, 2);
    out.push(b'T');
    padded(out, date.hour, 2);
    out.push(b':');
    padded(out, date.minute, 2);
    out.push(b':');
    padded(out, date.second, 2);
    out.push(b'.');
    padded(out, u64::from(millis), 3);
    out.push(b'Z');
}

/// Appends `,"name":`; names are ours and need no escape.
fn key(out: &mut Vec<u8>, name: &str) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
}

fn quoted(out: &mut Vec<u8>, value: impl FnOnce(&mut Vec<u8>)) {
    out.push(b'"');
    value(out);
    out.push(b'"');
}

fn text(out: &mut Vec<u8>, name: &str, value: &str) {
    key(out, name);
    quoted(out, |out| escaped(out, value, Escape::Json));
}

fn integer(out: &mut Vec<u8>, name: &str, value: u64) {
    key(out, name);
    decimal(out, value);
}

/// Milliseconds with three decimals.
fn milliseconds(out: &mut Vec<u8>, name: &str, took: Duration) {
    key(out, name);
    let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
    decimal(out, us / 1_000);
    out.push(b'.');
    padded(out, us % 1_000, 3);
}

fn ip(out: &mut Vec<u8>, address: IpAddr) {
    match address {
        IpAddr::V4(v4) => {
            for (i, octet) in v4.octets().into_iter().enumerate() {
                if i > 0 {
                    out.push(b'.');
                }
                decimal(out, u64::from(octet));
            }
        }
        IpAddr::V6(v6) => display(out, v6),
    }
}

fn socket(out: &mut Vec<u8>, address: SocketAddr) {
    match address {
        SocketAddr::V4(v4) => {
            ip(out, IpAddr::V4(*v4.ip()));
            out.push(b':');
            decimal(out, u64::from(v4.port()));
        }
        SocketAddr::V6(v6) => display(out, v6),
    }
}

fn display(out: &mut Vec<u8>, value: impl std::fmt::Display) {
    use std::io::Write as _;
    // Writing to a vector cannot fail.
    let _ = write!(out, "{value}");
}

fn decimal(out: &mut Vec<u8>, mut value: u64) {
    let mut digits = [0_u8; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// Appends at least `width` digits (at most 4), with leading zeros.
fn padded(out: &mut Vec<u8>, value: u64, width: usize) {
    debug_assert!((1..=4).contains(&width), "no field is wider");
    let mut bound = 10;
    for _ in 1..width.min(4) {
        if value < bound {
            out.push(b'0');
        }
        bound *= 10;
    }
    decimal(out, value);
}

#[derive(Clone, Copy)]
enum Escape {
    /// `\n`, `\u001b`.
    Json,
    /// `\n`, `\x1b`.
    Hex,
}

fn escaped(out: &mut Vec<u8>, value: &str, escape: Escape) {
    let bytes = value.as_bytes();
    let mut rest = bytes;
    while let Some(at) = rest.iter().position(|byte| !PLAIN[usize::from(*byte)]) {
        out.extend_from_slice(&rest[..at]);
        rest = &rest[at..];
        let taken = special(out, rest, escape);
        rest = &rest[taken..];
    }
    out.extend_from_slice(rest);
}

/// Appends the first character of `rest`, escaped if necessary, and returns its length in bytes.
fn special(out: &mut Vec<u8>, rest: &[u8], escape: Escape) -> usize {
    match *rest {
        [b'"', ..] => out.extend_from_slice(b"\\\""),
        [b'\\', ..] => out.extend_from_slice(b"\\\\"),
        [b'\n', ..] => out.extend_from_slice(b"\\n"),
        [b'\r', ..] => out.extend_from_slice(b"\\r"),
        [b'\t', ..] => out.extend_from_slice(b"\\t"),
        [control @ (0x00..=0x1f | 0x7f), ..] => code(out, u16::from(control), escape),
        [0xc2, low @ 0x80..=0x9f, ..] => {
            code(out, u16::from(low), escape);
            return 2;
        }
        [0xe2, 0x80, low @ 0xa8..=0xa9, ..] => {
            code(out, 0x2000 + u16::from(low & 0x3f), escape);
            return 3;
        }
        [byte, ..] => out.push(byte),
        [] => return 0,
    }
    1
}

fn code(out: &mut Vec<u8>, number: u16, escape: Escape) {
    let digits = [12, 8, 4, 0].map(|shift| HEX[usize::from(number >> shift & 0xf)]);
    match (escape, number) {
        (Escape::Json, _) | (Escape::Hex, 0x100..) => {
            out.extend_from_slice(b"\\u");
            out.extend_from_slice(&digits);
        }
        (Escape::Hex, _) => {
            out.extend_from_slice(b"\\x");
            out.extend_from_slice(&digits[2..]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::{AccessLog, LogFormat};
    use crate::telemetry::{LogBuffer, Termination, TryEntry};

    fn entry() -> AccessEntry<'static> {
        AccessEntry {
            at: Duration::from_millis(1_763_693_797_042),
            request_id: "0193",
            client_ip: IpAddr::from([203, 0, 113, 9]),
            peer: SocketAddr::from(([10, 0, 0, 1], 4711)),
            sender: None,
            method: "GET",
            host: "shop.example.com",
            path: "/checkout",
            protocol: "HTTP/1.1",
            listener: "http",
            tls: None,
            status: 200,
            request_bytes: 0,
            response_bytes: 2326,
            total: Duration::from_micros(12_045),
            first_byte: Some(Duration::from_micros(9)),
            upstream_latency: Some(Duration::from_secs(2)),
            route: Some("checkout"),
            variant: Some("canary"),
            variant_number: 1,
            reason: Some("weight+fallback"),
            bucket: Some(49_999),
            tenant: Some("acme"),
            token: Some("expired"),
            generation: 7,
            upstream: Some("checkout-v2"),
            endpoint: Some(SocketAddr::from(([10, 0, 2, 10], 8080))),
            attempts: 1,
            tries: &[],
            retry_end: "",
            is_last_resort: false,
            termination: Termination { ender: EndedBy::Upstream, stage: 'B' },
            detail: "upstream_reset",
            limit: None,
            rule: None,
            grpc_status: None,
            event: None,
            trace_id: Some("4bf92f3577b34da6a3ce929d0e0e4736"),
        }
    }

    fn line(format: LogFormat, entry: &AccessEntry<'_>) -> String {
        let mut buffer = LogBuffer::default();
        buffer.push(&AccessLog { format: Some(format), ..AccessLog::default() }, entry);
        assert_eq!(buffer.lines, 1);
        let line = String::from_utf8(buffer.bytes).expect("lines are UTF-8");
        assert_eq!(line.matches('\n').count(), 1, "exactly one line: {line:?}");
        line.strip_suffix('\n').expect("ends with a line feed").to_owned()
    }

    #[test]
    fn a_json_line_has_every_field() {
        assert_eq!(
            line(LogFormat::Json, &entry()),
            concat!(
                r#"{"time":"2025-11-21T02:56:37.042Z","request_id":"0193","client_ip":"203.0.113.9","#,
                r#""peer":"10.0.0.1:4711","method":"GET","host":"shop.example.com","path":"/checkout","#,
                r#""protocol":"HTTP/1.1","listener":"http","status":200,"request_bytes":0,"response_bytes":2326,"#,
                r#""duration_ms":12.045,"first_byte_ms":0.009,"upstream_ms":2000.000,"route":"checkout","#,
                r#""variant":"canary","reason":"weight+fallback","bucket":49999,"tenant":"acme","token":"expired","generation":7,"#,
                r#""upstream":"checkout-v2","endpoint":"10.0.2.10:8080","attempts":1,"termination":"UB","#,
                r#""detail":"upstream_reset","trace_id":"4bf92f3577b34da6a3ce929d0e0e4736"}"#,
            )
        );
    }

    #[test]
    fn failed_tries_are_listed_in_order() {
        let failed = |port, why| TryEntry { endpoint: SocketAddr::from(([10, 0, 2, 9], port)), why };
        let tries = [failed(8080, "connect_refused"), failed(8081, "reset")];
        let shown = |tries, retry_end| line(LogFormat::Json, &AccessEntry { tries, retry_end, ..entry() });
        let both = shown(&tries, "budget");
        let expected = concat!(
            r#","attempts":1,"tries":[{"endpoint":"10.0.2.9:8080","why":"connect_refused"},"#,
            r#"{"endpoint":"10.0.2.9:8081","why":"reset"}],"retry_end":"budget","termination":"#,
        );
        assert!(both.contains(expected), "{both}");
        assert!(shown(&tries[..1], "").contains(r#""why":"connect_refused"}],"termination":"#));
        for line in [both, shown(&tries[..1], ""), shown(&[], "method")] {
            serde_json::from_str::<serde_json::Value>(&line).expect("JSON");
        }
    }

    #[test]
    fn the_rule_that_refused_is_named() {
        let place = crate::route::SourceLocation { file: "a\"b.toml".into(), line: 31 };
        let refused = AccessEntry { detail: "rate_limited", limit: Some("by-tenant"), ..entry() };
        assert!(line(LogFormat::Json, &refused).contains(r#""detail":"rate_limited","limit":"by-tenant","trace_id""#));
        let closed = line(LogFormat::Json, &AccessEntry { detail: "access", rule: Some(place), ..entry() });
        let parsed: serde_json::Value = serde_json::from_str(&closed).expect("JSON");
        assert_eq!(parsed["rule"], "a\"b.toml:31");
    }

    #[test]
    fn a_common_line_is_what_log_readers_expect() {
        let v6 = AccessEntry { client_ip: "2001:db8::1".parse().expect("an address"), response_bytes: 0, ..entry() };
        assert_eq!(
            line(LogFormat::Common, &v6),
            r#"2001:db8::1 - - [21/Nov/2025:02:56:37 +0000] "GET /checkout HTTP/1.1" 200 -"#
        );
    }

    #[test]
    fn absent_values_are_left_out() {
        let bare = AccessEntry {
            first_byte: None,
            upstream_latency: None,
            route: None,
            variant: None,
            reason: None,
            bucket: None,
            tenant: None,
            token: None,
            upstream: None,
            endpoint: None,
            detail: "",
            trace_id: None,
            status: 0,
            termination: Termination { ender: EndedBy::Done, stage: '\n' },
            ..entry()
        };
        let parsed: serde_json::Value = serde_json::from_str(&line(LogFormat::Json, &bare)).expect("JSON");
        for absent in
            ["first_byte_ms", "upstream_ms", "route", "variant", "bucket", "tenant", "token", "endpoint", "trace_id"]
        {
            assert!(parsed.get(absent).is_none(), "{absent}");
        }
        assert_eq!(parsed["termination"], "--");
    }

    #[test]
    fn no_text_breaks_a_line() {
        let nasty: String = (0..0x3000_u32).filter_map(char::from_u32).chain("\u{10ffff}\u{fffd}".chars()).collect();
        for format in [LogFormat::Json, LogFormat::Common] {
            let written = line(format, &AccessEntry { path: &nasty, tenant: Some(&nasty), host: &nasty, ..entry() });
            let acted_upon = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
            assert!(!written.chars().any(acted_upon), "{format:?}");
            if format == LogFormat::Json {
                let parsed: serde_json::Value = serde_json::from_str(&written).expect("JSON");
                assert_eq!(parsed["path"], nasty.as_str());
                assert_eq!(parsed["tenant"], nasty.as_str());
            }
        }
        let quote = line(LogFormat::Common, &AccessEntry { path: "/\" 200 1\r\n\u{1b}[0m", ..entry() });
        assert!(quote.contains(r#""GET /\" 200 1\r\n\x1b[0m HTTP/1.1" 200"#), "{quote}");
    }

    #[test]
    fn dates_agree_with_a_calendar() {
        let seconds =
            [0, 951_782_399, 951_782_400, 951_868_800, 1_709_164_799, 4_107_542_399, 4_107_542_400, 253_402_207_199];
        for second in seconds.into_iter().chain((0..4_000).map(|i| i * 1_234_567)) {
            let mut ours = Vec::new();
            rfc3339(&mut ours, Date::of(second), 7);
            let theirs = jiff::Timestamp::from_millisecond(i64::try_from(second).expect("small") * 1_000 + 7);
            assert_eq!(
                String::from_utf8(ours).expect("ASCII"),
                format!("{:.3}", theirs.expect("in range")),
                "{second}"
            );
        }
    }

    #[test]
    fn the_cached_second_is_not_kept_too_long() {
        let mut buffer = LogBuffer::default();
        for at in [1_000, 1_999, 2_000, 1_000] {
            buffer.push(&AccessLog::default(), &AccessEntry { at: Duration::from_millis(at), ..entry() });
        }
        let text = String::from_utf8(buffer.bytes).expect("UTF-8");
        let times: Vec<&str> = text.lines().map(|line| &line[26..32]).collect();
        assert_eq!(times, ["01.000", "01.999", "02.000", "01.000"]);
    }

    #[test]
    fn numbers_are_padded() {
        for (value, width, expected) in [
            (0, 3, "000"),
            (7, 3, "007"),
            (42, 3, "042"),
            (999, 3, "999"),
            (1970, 4, "1970"),
            (5, 4, "0005"),
            (5, 2, "05"),
        ] {
            let mut out = Vec::new();
            padded(&mut out, value, width);
            assert_eq!(String::from_utf8(out).expect("ASCII"), expected);
        }
        let mut out = Vec::new();
        decimal(&mut out, u64::MAX);
        assert_eq!(out, u64::MAX.to_string().into_bytes());
    }
}
