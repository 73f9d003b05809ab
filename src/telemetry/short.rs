//! Formats short access log lines for a terminal: `GET shop/checkout 200 → checkout/canary 12 ms`.
//!
//! Bytes that are not printable ASCII are escaped as `\xNN`, so that a request can neither act on the terminal nor use
//! more columns than counted. Where the line would wrap, host and path are shortened in the middle; a failed request
//! still shows who ended it and why, on a second row if necessary.

use std::fmt::Write as _;
use std::time::Duration;

use super::ink::{Ink, VARIANTS};
use super::screen::{Medium, Screen, TimeOfDay, columns};
use super::{AccessEntry, AccessEvent, EndedBy};

/// Below this width the time of day is omitted.
const COLUMNS_WITH_TIME: usize = 80;
/// The smallest width of host and path.
const TARGET_MIN: usize = 16;

const DIM: &str = "2";
const RED: &str = "31";
const GREEN: &str = "32";
const YELLOW: &str = "33";
const CYAN: &str = "36";

/// Writes short lines for one screen.
#[derive(Debug, Default)]
pub(super) struct ShortFormat {
    screen: Screen,
    /// The width of the terminal, if there is one.
    columns: Option<usize>,
    clock: TimeOfDay,
    target: String,
    head: Strip,
    tail: Strip,
}

/// Text with the number of columns that it uses; escape sequences use none.
#[derive(Debug, Default)]
struct Strip {
    text: String,
    columns: usize,
    ink: Ink,
}

impl Strip {
    fn clear(&mut self, ink: Ink) {
        self.text.clear();
        self.columns = 0;
        self.ink = ink;
    }

    /// Appends ASCII, or one of our own symbols, which all use one column.
    fn put(&mut self, text: &str) {
        self.columns += text.chars().count();
        self.text.push_str(text);
    }

    fn put_fmt(&mut self, what: std::fmt::Arguments<'_>) {
        let before = self.text.len();
        // Writing to a string cannot fail.
        let _ = self.text.write_fmt(what);
        self.columns += self.text[before..].chars().count();
    }

    fn painted(&mut self, code: &'static str, text: &str) {
        let _ = write!(self.text, "{}", self.ink.start(code));
        self.put(text);
        let _ = write!(self.text, "{}", self.ink.start("0"));
    }
}

impl ShortFormat {
    /// Creates a formatter for this screen.
    pub(super) fn on(screen: Screen) -> Self {
        Self { screen, ..Self::default() }
    }

    /// The screen.
    pub(super) const fn screen(&self) -> Screen {
        self.screen
    }

    /// Appends a line. `screen` is where this line is shown: only a terminal limits its width.
    pub(super) fn line(&mut self, out: &mut Vec<u8>, screen: Screen, entry: &AccessEntry<'_>) {
        let is_new_second = self.clock.update(entry.at);
        match screen.medium {
            Medium::File => self.columns = None,
            // The width is read once a second, because the window can change.
            Medium::Terminal if is_new_second || self.columns.is_none() => self.columns = Some(columns()),
            Medium::Terminal => {}
        }
        self.write(out, screen.ink, entry);
    }

    fn write(&mut self, out: &mut Vec<u8>, ink: Ink, entry: &AccessEntry<'_>) {
        let Self { head, tail, target, columns, clock, .. } = self;
        head.clear(ink);
        tail.clear(ink);
        if columns.is_none_or(|columns| columns >= COLUMNS_WITH_TIME) {
            head.painted(DIM, clock.text());
            head.put(" ");
        }
        target.clear();
        escaped(target, entry.method);
        head.put(target);
        head.put(" ");
        answer(tail, entry);
        target.clear();
        escaped(target, entry.host);
        escaped(target, entry.path);
        let taken = head.columns + tail.columns;
        shortened(head, target, columns.map_or(usize::MAX, |columns| columns.saturating_sub(taken)));
        out.extend_from_slice(head.text.as_bytes());
        out.extend_from_slice(tail.text.as_bytes());
        out.push(b'\n');
    }
}

/// ` 200 → checkout/canary 12 ms`, and the cause of an early end.
fn answer(line: &mut Strip, entry: &AccessEntry<'_>) {
    line.put(" ");
    match entry.status {
        0 => line.painted(RED, "---"),
        status => {
            let code = match status {
                200..=299 => GREEN,
                300..=399 => CYAN,
                400..=499 => YELLOW,
                500.. => RED,
                0..=199 => DIM,
            };
            let _ = write!(line.text, "{}", line.ink.start(code));
            line.put_fmt(format_args!("{status}"));
            let _ = write!(line.text, "{}", line.ink.start("0"));
        }
    }
    decision(line, entry);
    line.put(" ");
    duration(line, entry.total);
    match entry.tries.len() {
        0 => {}
        1 => line.painted(YELLOW, "  1 failed try"),
        many => {
            let _ = write!(line.text, "{}", line.ink.start(YELLOW));
            line.put_fmt(format_args!("  {many} failed tries"));
            let _ = write!(line.text, "{}", line.ink.start("0"));
        }
    }
    if let Some(code) = entry.grpc_status.filter(|code| *code > 0) {
        line.put_fmt(format_args!("  grpc-status {code}"));
    }
    match entry.event {
        Some(AccessEvent::Open) => line.painted(DIM, "  tunnel opened"),
        Some(AccessEvent::Close) => line.painted(DIM, "  tunnel closed"),
        Some(AccessEvent::Shadow) | None => {}
    }
    ending(line, entry);
}

fn decision(line: &mut Strip, entry: &AccessEntry<'_>) {
    if entry.route.is_none() && entry.event != Some(AccessEvent::Shadow) {
        return;
    }
    line.put(" ");
    line.painted(DIM, "→");
    line.put(" ");
    if let (Some(AccessEvent::Shadow), Some(upstream)) = (entry.event, entry.upstream) {
        line.painted(DIM, "copy to ");
        line.put(upstream);
        return;
    }
    line.put(entry.route.unwrap_or("-"));
    if let Some(variant) = entry.variant {
        line.put("/");
        line.painted(VARIANTS[usize::from(entry.variant_number) % VARIANTS.len()], variant);
    }
    // The variant was unreachable.
    if let (Some(reason), Some(upstream)) = (entry.reason, entry.upstream)
        && reason.ends_with("+fallback")
    {
        line.put(", ");
        line.painted(YELLOW, "answered by ");
        line.put(upstream);
    }
}

/// `0.4 ms`, `12 ms`, `1.2 s`.
fn duration(line: &mut Strip, took: Duration) {
    let us = took.as_micros();
    match us {
        0..10_000 => line.put_fmt(format_args!("{}.{} ms", us / 1_000, us / 100 % 10)),
        10_000..1_000_000 => line.put_fmt(format_args!("{} ms", us / 1_000)),
        1_000_000.. => line.put_fmt(format_args!("{}.{} s", us / 1_000_000, us / 100_000 % 10)),
    }
}

/// The party that ended a failed request, the stage and the cause.
fn ending(line: &mut Strip, entry: &AccessEntry<'_>) {
    let who = match entry.termination.ender {
        EndedBy::Done => return,
        EndedBy::Client => "client",
        EndedBy::Upstream => "upstream",
        EndedBy::Proxy => "proxy",
    };
    let when = match entry.termination.stage {
        'R' => " while reading the request",
        'D' => " while deciding",
        'C' => " while connecting",
        'H' => " before the response",
        'B' => " in the response body",
        'T' => " in the tunnel",
        '\0'..='A' | 'E'..='G' | 'I'..='Q' | 'S' | 'U'..=char::MAX => "",
    };
    let code = if entry.status == 0 || entry.status >= 500 { RED } else { YELLOW };
    line.put("  ");
    let _ = write!(line.text, "{}", line.ink.start(code));
    line.put_fmt(format_args!("ended by the {who}{when}"));
    if !entry.detail.is_empty() {
        line.put(": ");
        for (at, word) in entry.detail.split('_').enumerate() {
            line.put(if at > 0 { " " } else { "" });
            line.put(word);
        }
    }
    let _ = write!(line.text, "{}", line.ink.start("0"));
}

/// Appends `target`, which is ASCII, in at most `room` columns; the middle is left out when it is longer.
fn shortened(line: &mut Strip, target: &str, room: usize) {
    let room = room.max(TARGET_MIN);
    if target.len() <= room {
        return line.put(target);
    }
    let ends = room - 1;
    line.put(&target[..ends.div_ceil(2)]);
    line.put("…");
    line.put(&target[target.len() - ends / 2..]);
}

/// Appends printable ASCII unchanged, and all other bytes as `\xNN`.
fn escaped(out: &mut String, value: &str) {
    for byte in value.bytes() {
        match byte {
            b' '..=b'~' => out.push(char::from(byte)),
            0..b' ' | 0x7f.. => {
                let _ = write!(out, "\\x{byte:02x}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, SocketAddr};

    use jiff::tz::TimeZone;

    use super::*;
    use crate::route::{AccessLog, LogFormat, LogSink};
    use crate::telemetry::{LogBuffer, Termination, TryEntry};

    fn entry() -> AccessEntry<'static> {
        AccessEntry {
            at: Duration::from_millis(1_763_693_797_042),
            request_id: "0193",
            client_ip: IpAddr::from([203, 0, 113, 9]),
            peer: SocketAddr::from(([10, 0, 0, 1], 4711)),
            sender: None,
            method: "GET",
            host: "shop",
            path: "/checkout",
            protocol: "HTTP/1.1",
            listener: "http",
            tls: None,
            status: 200,
            request_bytes: 0,
            response_bytes: 2326,
            total: Duration::from_micros(12_045),
            first_byte: None,
            upstream_latency: None,
            route: Some("checkout"),
            variant: Some("canary"),
            variant_number: 1,
            reason: Some("weight"),
            bucket: None,
            tenant: None,
            token: None,
            generation: 7,
            upstream: Some("checkout-v2"),
            endpoint: None,
            attempts: 1,
            tries: &[],
            retry_end: "",
            is_last_resort: false,
            termination: Termination { ender: EndedBy::Done, stage: '-' },
            detail: "",
            limit: None,
            rule: None,
            grpc_status: None,
            event: None,
            trace_id: None,
        }
    }

    fn written(columns: Option<usize>, ink: Ink, entry: &AccessEntry<'_>) -> String {
        let mut short = ShortFormat { columns, clock: TimeOfDay::within(TimeZone::UTC), ..ShortFormat::default() };
        let mut out = Vec::new();
        short.clock.update(entry.at);
        short.write(&mut out, ink, entry);
        let line = String::from_utf8(out).expect("lines are UTF-8");
        assert_eq!(line.matches('\n').count(), 1, "exactly one line: {line:?}");
        line.strip_suffix('\n').expect("ends with a line feed").to_owned()
    }

    /// The number of columns of a coloured line.
    fn columns_of(painted: &str) -> usize {
        let mut parts = painted.split('\x1b');
        let first = parts.next().unwrap_or_default().chars().count();
        first + parts.map(|part| part.split_once('m').map_or(0, |(_, text)| text.chars().count())).sum::<usize>()
    }

    fn plain(entry: &AccessEntry<'_>) -> String {
        written(Some(79), Ink::Plain, entry)
    }

    #[test]
    fn a_request_is_one_short_line() {
        assert_eq!(plain(&entry()), "GET shop/checkout 200 → checkout/canary 12 ms");
        let wide = written(Some(80), Ink::Plain, &entry());
        assert_eq!(wide, "02:56:37 GET shop/checkout 200 → checkout/canary 12 ms");
        let local = AccessEntry { variant: None, total: Duration::from_micros(450), ..entry() };
        assert_eq!(plain(&local), "GET shop/checkout 200 → checkout 0.4 ms");
        let slow = AccessEntry { total: Duration::from_millis(61_270), grpc_status: Some(14), ..entry() };
        assert_eq!(plain(&slow), "GET shop/checkout 200 → checkout/canary 61.2 s  grpc-status 14");
        let rescued = AccessEntry { reason: Some("weight+fallback"), upstream: Some("checkout-v1"), ..entry() };
        assert_eq!(plain(&rescued), "GET shop/checkout 200 → checkout/canary, answered by checkout-v1 12 ms");
        let failed = TryEntry { endpoint: "10.0.2.9:8080".parse().expect("an address"), why: "connect_refused" };
        let retried = AccessEntry { attempts: 2, tries: &[failed], ..entry() };
        assert_eq!(plain(&retried), "GET shop/checkout 200 → checkout/canary 12 ms  1 failed try");
        let retried = AccessEntry { attempts: 3, tries: &[failed, failed], ..entry() };
        assert_eq!(plain(&retried), "GET shop/checkout 200 → checkout/canary 12 ms  2 failed tries");
        let copy = AccessEntry { event: Some(AccessEvent::Shadow), variant: None, upstream: Some("v3"), ..entry() };
        assert_eq!(plain(&copy), "GET shop/checkout 200 → copy to v3 12 ms");
        let tunnel = AccessEntry { status: 101, event: Some(AccessEvent::Open), ..entry() };
        assert_eq!(plain(&tunnel), "GET shop/checkout 101 → checkout/canary 12 ms  tunnel opened");
    }

    #[test]
    fn a_failure_says_who_when_and_why() {
        let ended = |ender, stage, detail, status| AccessEntry {
            termination: Termination { ender, stage },
            detail,
            status,
            total: Duration::from_millis(12),
            ..entry()
        };
        for (failed, expected) in [
            (
                ended(EndedBy::Upstream, 'C', "connect_refused", 502),
                "502 → checkout/canary 12 ms  ended by the upstream while connecting: connect refused",
            ),
            (
                ended(EndedBy::Client, 'B', "client_gone", 200),
                "200 → checkout/canary 12 ms  ended by the client in the response body: client gone",
            ),
            (ended(EndedBy::Proxy, 'H', "", 0), "--- → checkout/canary 12 ms  ended by the proxy before the response"),
        ] {
            assert_eq!(written(Some(200), Ink::Plain, &failed), format!("02:56:37 GET shop/checkout {expected}"));
        }
        let none = AccessEntry { route: None, variant: None, ..ended(EndedBy::Proxy, 'D', "no_route", 404) };
        assert_eq!(plain(&none), "GET shop/checkout 404 12 ms  ended by the proxy while deciding: no route");
    }

    #[test]
    fn colours_say_status_and_variant() {
        let line = written(Some(200), Ink::Colour, &entry());
        assert!(line.contains(" \x1b[32m200\x1b[0m ") && line.contains("/\x1b[33mcanary\x1b[0m 12 ms"), "{line:?}");
        let stable = AccessEntry { status: 503, variant: Some("stable"), variant_number: 0, ..entry() };
        let line = written(Some(200), Ink::Colour, &stable);
        assert!(line.contains("\x1b[31m503\x1b[0m") && line.contains("\x1b[32mstable\x1b[0m"), "{line:?}");
        assert_eq!(columns_of(&line), "02:56:37 GET shop/checkout 503 → checkout/stable 12 ms".chars().count());
    }

    #[test]
    fn a_long_path_loses_its_middle() {
        let long = format!("/{}/end", "x".repeat(300));
        for columns in [40, 60, 80, 120] {
            for ink in [Ink::Plain, Ink::Colour] {
                let line = written(Some(columns), ink, &AccessEntry { path: &long, ..entry() });
                assert!(columns_of(&line) <= columns.max(48), "{columns}: {line}");
                assert!(line.contains("shop/xx") && line.contains("x/end") && line.contains('…'), "{line}");
                assert!(columns < 60 || columns_of(&line) == columns, "all of the room is used: {line}");
            }
        }
        assert!(written(None, Ink::Plain, &AccessEntry { path: &long, ..entry() }).contains(&long), "a file has room");
    }

    #[test]
    fn only_a_terminal_limits_the_width() {
        let screen = Screen { medium: Medium::Terminal, ink: Ink::Colour };
        let path = format!("/{}", "x".repeat(5_000));
        let entry = AccessEntry { path: &path, ..entry() };
        let mut buffer = LogBuffer::on(screen);
        let mut pushed = |sink: LogSink| {
            buffer.push(&AccessLog { sink, format: Some(LogFormat::Short), ..AccessLog::default() }, &entry);
            String::from_utf8(buffer.take().0).unwrap()
        };
        let file = || LogSink::File("access.log".into());
        for (sink, is_whole) in [(file(), true), (LogSink::Stdout, false), (file(), true), (LogSink::Stdout, false)] {
            let line = pushed(sink.clone());
            assert_eq!(line.contains(&path), is_whole, "{sink:?}: {line}");
            assert_eq!(line.contains('\x1b'), !is_whole, "{sink:?}: a file has no colours");
        }
    }

    #[test]
    fn foreign_bytes_never_reach_the_terminal() {
        let nasty = "/\x1b[2J\x07\u{9b}31m\r\n\u{202e}ü";
        for columns in [None, Some(20), Some(80)] {
            let line =
                written(columns, Ink::Plain, &AccessEntry { path: nasty, host: nasty, method: nasty, ..entry() });
            let clean = |letter: char| matches!(letter, ' '..='~' | '→' | '…');
            assert!(line.chars().all(clean) && line.contains("\\x1b[2J"), "{line:?}");
        }
    }
}
