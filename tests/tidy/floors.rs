//! The floors: a room may import only from floors below it. A new upward import is a change of the design: the table
//! here and the one in ARCHITECTURE.md are edited in the same commit.

use crate::source::{Finding, Source, words};

/// A room, its floor, and what it may not name although it stands on a lower floor.
struct Room {
    name: &'static str,
    floor: u8,
    never: &'static [&'static str],
}

const fn room(name: &'static str, floor: u8, never: &'static [&'static str]) -> Room {
    Room { name, floor, never }
}

const ROOMS: &[Room] = &[
    // Wiring and words for people: main is over cli, which is over app.
    room("main", 7, &[]),
    room("cli", 6, &[]),
    room("app", 5, &[]),
    // The planes: the same floor, so neither imports the other.
    room("proxy", 4, &["config", "stats"]),
    room("control", 4, &[]),
    room("snapshot", 3, &[]),
    room("config", 3, &[]),
    room("rehearsal", 3, &["config", "snapshot", "shadow_compare"]),
    room("shadow_compare", 3, &["config", "snapshot"]),
    room("compare", 2, &["clock", "drain"]),
    room("telemetry", 2, &[]),
    room("failover", 2, &[]),
    room("limiter", 2, &["clock", "drain"]),
    room("balance", 2, &["clock", "drain", "net", "stats"]),
    room("release", 2, &["telemetry", "journal"]),
    room("tls", 2, &[]),
    room("identity", 2, &["clock", "drain"]),
    room("journal", 2, &["telemetry"]),
    // Leaves. `net` is on floor 1 so that `telemetry` may use it.
    room("net", 1, &[]),
    room("route", 1, &[]),
    room("stats", 1, &[]),
    room("clock", 1, &[]),
    room("drain", 1, &[]),
    // The fields of a head, which every room may use.
    room("fields", 0, &[]),
];

/// Rooms that decide: no I/O, no clock, no randomness, no runtime.
const PURE: &[&str] =
    &["route", "failover", "balance", "limiter", "release", "rehearsal", "stats", "compare", "fields"];

/// Folders that are pure inside a room that is not, but for these files of theirs: a test with its table, and two
/// that drive hyper.
const PURE_FOLDERS: &[(&str, &[&str])] =
    &[("src/proxy/wire/", &["fault/tests.rs", "tests/hyper_reading.rs", "tests/requests/hyper_reading.rs"])];

/// The crates that a pure room may name.
const PURE_CRATES: &[&str] = &["http", "bytes", "regex", "ipnet", "ahash", "xxhash_rust", "memchr"];

/// What else one of them may name: decoders of content codings, which read from memory; moments that a caller has read.
const ALSO: &[(&str, &str)] = &[
    ("compare", "flate2"),
    // Zones and times of freeze windows; a plan is recorded with a decision.
    ("route", "jiff"),
    ("route", "serde"),
    ("release", "serde"),
    // The hash of a plan, to which an approval is bound: a function of bytes.
    ("release", "aws_lc_rs"),
    ("release", "serde_json"),
    ("rehearsal", "serde_json"),
    ("compare", "brotli_decompressor"),
    ("compare", "ruzstd"),
    ("compare", "std::io"),
    ("proxy/wire", "std::time::Instant"),
];

/// The folders that only compute: the pure ones, and those that read configuration and compare responses.
pub fn computing() -> Vec<String> {
    let rooms = PURE.iter().chain(&["config", "shadow_compare"]);
    let folders = PURE_FOLDERS.iter().map(|(folder, _)| (*folder).to_owned());
    rooms.map(|room| format!("src/{room}")).chain(folders).collect()
}

/// What of `std` a pure room may not name.
const IMPURE: &[(&str, &str)] = &[
    ("std::fs", "reading files is config's work: take the text as an argument"),
    ("std::io", "a pure room does no I/O: return data and let proxy or control move it"),
    ("std::env", "config reads the environment: take the value as an argument"),
    ("std::thread", "threads belong to app: take what they share as an argument"),
    ("std::process", "return an error: only main ends the process"),
    ("std::net::TcpStream", "sockets belong to proxy and net"),
    ("std::net::TcpListener", "sockets belong to proxy and control"),
    ("std::net::UdpSocket", "sockets belong to control"),
    ("std::time::Instant", "clocks are read in clock.rs: take `now` as an argument"),
    ("std::time::SystemTime", "clocks are read in clock.rs: take `now` as an argument"),
];

/// Imports that climb.
pub fn imports(file: &Source) -> Vec<Finding> {
    if file.path == "src/lib.rs" {
        return Vec::new();
    }
    let Some(from) = ROOMS.iter().find(|room| room.name == file.room()) else {
        return vec![file.at(
            0,
            format!("`{}` has no floor: place it in a room, or give it one in tests/tidy/floors.rs", file.room()),
        )];
    };
    let mut found = Vec::new();
    for (offset, name) in named_rooms(file) {
        if name == "*" {
            found.push(file.at(offset, "`crate::*` hides what is imported: name the room"));
            continue;
        }
        let Some(to) = ROOMS.iter().find(|room| room.name == name) else { continue };
        if to.name == from.name {
            continue;
        }
        if to.floor >= from.floor || from.never.contains(&to.name) {
            let floors = format!("{} (floor {}) names {} (floor {})", from.name, from.floor, to.name, to.floor);
            found.push(file.at(
                offset,
                format!("{floors}: take the value as an argument, or move the type down to where both may see it"),
            ));
        }
    }
    found
}

/// The room or folder that makes a file a pure one.
fn pure_place(file: &Source) -> Option<&str> {
    let folder = PURE_FOLDERS
        .iter()
        .find(|(folder, impure)| file.path.strip_prefix(*folder).is_some_and(|name| !impure.contains(&name)));
    let room = Some(file.room()).filter(|room| PURE.contains(room));
    room.or(folder.map(|(folder, _)| folder.trim_start_matches("src/").trim_end_matches('/')))
}

/// Crates and parts of `std` that a pure room may not name.
pub fn purity(file: &Source, dependencies: &[String]) -> Vec<Finding> {
    let Some(place) = pure_place(file) else { return Vec::new() };
    let may = |name: &str| PURE_CRATES.contains(&name) || ALSO.contains(&(place, name));
    let mut found = Vec::new();
    for name in dependencies.iter().filter(|name| !may(name)) {
        for offset in words(&file.code, name) {
            let before = file.code[..offset].trim_end();
            let after = file.code[offset + name.len()..].trim_start();
            let path = after.starts_with("::") && !before.ends_with("::");
            let import = before.ends_with("use") && after.starts_with([';', ' ']);
            // Tests may bring randomness, with a seed: it is what they hand in.
            if (path || import) && !file.is_test(offset) {
                found.push(file.at(offset, format!("{place}/ is pure and may not name `{name}`: allowed are std and {PURE_CRATES:?}; do this in proxy, config or control")));
            }
        }
    }
    for (path, instead) in IMPURE.iter().filter(|(path, _)| !may(path)) {
        found
            .extend(std_paths(file, path).map(|offset| file.at(offset, format!("`{path}` in a pure room: {instead}"))));
    }
    found
}

/// The cookie of a session: it has the prefix of metrics.
const COOKIE: &str = "pointsman_session";

/// Metric names outside telemetry.
pub fn metric_names(file: &Source) -> Vec<Finding> {
    if file.room() == "telemetry" {
        return Vec::new();
    }
    let is_cookie = |offset: usize| {
        let rest = file.code_and_strings[offset..].strip_prefix(COOKIE);
        rest.is_some_and(|rest| !rest.starts_with(|letter: char| letter.is_alphanumeric() || letter == '_'))
    };
    file.code_and_strings
        .match_indices("pointsman_")
        .filter(|(offset, _)| !file.is_test(*offset) && !is_cookie(*offset))
        .map(|(offset, _)| file.at(offset, "a metric is named here: metrics live in telemetry/, ask it for a handle"))
        .collect()
}

/// Where `path` of std is named, also as `use std::{fs, …}` and `use std::net::{…, TcpStream}`.
fn std_paths<'a>(file: &'a Source, path: &'a str) -> impl Iterator<Item = usize> + 'a {
    let (parent, leaf) = path.rsplit_once("::").unwrap_or(("std", path));
    let grouped = group_members(&file.code, parent).filter(move |(_, name)| *name == leaf).map(|(offset, _)| offset);
    words(&file.code, path).chain(grouped)
}

/// The first names in `parent::{…}`, with where they stand.
fn group_members<'a>(code: &'a str, parent: &'a str) -> impl Iterator<Item = (usize, &'a str)> + 'a {
    words(code, parent).filter_map(|at| group_at(code, at + parent.len())).flatten()
}

/// Splits the group `::{a::b, c::{d}, e}` at `offset` into its members' first names.
pub fn group_at(code: &str, offset: usize) -> Option<Vec<(usize, &str)>> {
    let open = offset + "::".len();
    if !code[offset..].starts_with("::{") {
        return None;
    }
    let end = crate::source::closing(code, open);
    let (mut members, mut depth, mut expecting) = (Vec::new(), 0, true);
    for (at, letter) in code[open..end].char_indices().map(|(at, letter)| (at + open, letter)) {
        match letter {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 1 => expecting = true,
            letter if expecting && depth == 1 && !letter.is_whitespace() => {
                members.push((at, first_name(&code[at..])));
                expecting = false;
            }
            _ => {}
        }
    }
    Some(members)
}

/// The name that `text` begins with; `*` for a glob.
pub fn first_name(text: &str) -> &str {
    let end = text.find(|letter: char| !(letter.is_alphanumeric() || letter == '_')).unwrap_or(text.len());
    if end == 0 { text.get(..1).unwrap_or("") } else { &text[..end] }
}

/// The file that publishes snapshots.
const PUBLISHER: &str = "src/control/publish.rs";

/// Uses of a `publish` elsewhere, by method or by path: `store.publish(…)`, `SnapshotStore::publish`, an import, also
/// one that renames it. It does not see who calls the functions of the publisher's file; they are named for what they
/// change.
pub fn publishers(file: &Source) -> Vec<Finding> {
    if file.path == PUBLISHER {
        return Vec::new();
    }
    words(&file.code, "publish")
        .filter(|at| file.code[..*at].trim_end().ends_with(['.', ':', '{', ',']) && !file.is_test(*at))
        .map(|at| {
            file.at(
                at,
                format!("`publish` is called in {PUBLISHER} only: give it a function there that says what changes"),
            )
        })
        .collect()
}

/// What opens an outgoing connection over TCP, or makes TLS of one.
const OPENERS: &[&str] = &["TcpStream::connect", "TcpStream::connect_timeout", "TcpSocket", "TlsConnector"];

/// Outgoing connections that are opened outside of net. Tests may: they stand for clients.
pub fn connections(file: &Source) -> Vec<Finding> {
    if file.room() == "net" {
        return Vec::new();
    }
    let openers = OPENERS.iter().flat_map(|opener| words(&file.code, opener).map(move |at| (at, opener)));
    openers
        .filter(|(at, _)| !file.is_test(*at))
        .map(|(at, opener)| {
            file.at(
                at,
                format!("`{opener}`: connections are opened in net/: `net::connector(within).oneshot(destination)`"),
            )
        })
        .collect()
}

/// The rooms of proxy that requests pass between their connection and their upstream.
const STAGES: &[&str] =
    &["src/proxy/request/", "src/proxy/mirror/", "src/proxy/body/", "src/proxy/wire/", "src/proxy/worker/"];

/// Layers between the stages of a request.
pub fn layers(file: &Source) -> Vec<Finding> {
    if !STAGES.iter().any(|room| file.path.starts_with(room)) {
        return Vec::new();
    }
    ["tower", "tower_http"]
        .iter()
        .flat_map(|name| words(&file.code, name))
        .filter(|at| !file.is_test(*at))
        .map(|at| file.at(at, "no tower between stages: layers stand around them, in src/proxy/thread.rs"))
        .collect()
}

/// Every top-level module that is named through `crate::`, `pointsman::` or enough `super::`.
fn named_rooms(file: &Source) -> Vec<(usize, &str)> {
    let code = file.code.as_str();
    let mut roots: Vec<usize> = Vec::new();
    for root in ["crate", "pointsman"] {
        roots.extend(words(code, root).map(|at| at + root.len()));
    }
    let depth = file.path.trim_start_matches("src/").trim_end_matches("/mod.rs").split('/').count();
    let climb = vec!["super"; depth].join("::");
    roots.extend(code.match_indices(&climb).map(|(at, _)| at + climb.len()));
    let mut named = Vec::new();
    for offset in roots {
        if let Some(members) = group_at(code, offset) {
            named.extend(members);
        } else if let Some(rest) = code[offset..].strip_prefix("::") {
            named.push((offset, first_name(rest)));
        }
    }
    named
}

#[cfg(test)]
mod tests {
    use super::{connections, imports, layers, metric_names, publishers, purity};
    use crate::source::Source;

    fn climbs(path: &str, text: &str) -> usize {
        imports(&Source::new(path, text)).len()
    }

    #[test]
    fn climbing_is_found() {
        for (path, text) in [
            ("src/route/lookup/index.rs", "use crate::telemetry::Meter;"),
            ("src/route/lookup/index.rs", "use crate::{telemetry::Meter, route::Weight};"),
            ("src/route/lookup/index.rs", "fn a(now: crate::clock::Clock) {}"),
            ("src/clock.rs", "use crate::drain::Drain;"),
            ("src/telemetry/mod.rs", "use crate::config::Diagnostics;"),
            ("src/snapshot.rs", "use crate::config::Document;"),
            ("src/proxy/request/handle.rs", "use crate::control::Controller;"),
            ("src/proxy/request/handle.rs", "let text = crate::config::load_text;"),
            ("src/proxy/request/handle.rs", "use crate::stats::Verdicts;"),
            ("src/proxy/request/handle.rs", "use super::super::super::control::watch;"),
            ("src/control/mod.rs", "use crate::{\n    snapshot::Snapshot,\n    proxy::{Pool, Worker},\n};"),
            ("src/stats/level.rs", "use crate::clock::Clock;"),
            ("src/app.rs", "use crate::cli::Run;"),
            ("src/route/lookup/index.rs", "use crate::*;"),
            ("src/shelf/thing.rs", ""),
        ] {
            assert_eq!(climbs(path, text), 1, "{path}: {text}");
        }
    }

    #[test]
    fn going_down_is_fine() {
        for (path, text) in [
            ("src/route/lookup/index.rs", "use crate::route::Weight; use super::table::Lookup;"),
            ("src/telemetry/mod.rs", "use crate::route::Reason;"),
            ("src/proxy/request/handle.rs", "use crate::{route::decide, snapshot::Snapshot, telemetry::Meter};"),
            ("src/control/files/reload.rs", "use crate::config; use crate::stats::Tally;"),
            ("src/main.rs", "use pointsman::{app, cli};"),
            ("src/lib.rs", "pub mod route;"),
            ("src/proxy/request/handle.rs", "// never crate::control::x\npub(crate) fn a() { \"crate::config\" }"),
        ] {
            assert_eq!(climbs(path, text), 0, "{path}: {text}");
        }
    }

    #[test]
    fn pure_rooms_are_pure() {
        let dependencies = ["tokio", "fastrand", "http", "hyper_util"].map(str::to_owned);
        let count = |path, text| purity(&Source::new(path, text), &dependencies).len();
        assert_eq!(count("src/route/a.rs", "use tokio::sync::watch;"), 1);
        assert_eq!(count("src/route/a.rs", "fn a() -> u64 { fastrand::u64(..) }"), 1);
        assert_eq!(count("src/route/a.rs", "#[cfg(test)]\nmod tests {\n    use fastrand::Rng;\n}\n"), 0);
        assert_eq!(count("src/route/a.rs", "use hyper_util;"), 1);
        assert_eq!(count("src/route/a.rs", "use std::time::Instant;"), 1);
        assert_eq!(count("src/route/a.rs", "use std::time::{Duration, Instant};"), 1);
        assert_eq!(count("src/stats/a.rs", "use std::{fs, fmt};"), 1);
        assert_eq!(count("src/route/a.rs", "use std::time::Duration; use http::Method; use std::net::IpAddr;"), 0);
        assert_eq!(count("src/proxy/a.rs", "use tokio::sync::watch; use std::fs;"), 0);
        assert_eq!(count("src/proxy/wire/a.rs", "use tokio::sync::watch; use std::io;"), 2);
        assert_eq!(count("src/proxy/wire/a/b.rs", "use std::{fs, time::Duration};"), 1);
        assert_eq!(count("src/proxy/wire/fault/tests.rs", "use tokio::sync::watch; use std::io;"), 0);
        assert_eq!(count("src/compare/a.rs", "use std::io::Read;"), 0);
        assert_eq!(count("src/stats/a.rs", "use std::io::Read;"), 1);
    }

    #[test]
    fn a_second_publisher_is_found() {
        let count = |path, text| publishers(&Source::new(path, text)).len();
        assert_eq!(count("src/control/start.rs", "controller.store.publish(next);"), 1);
        assert_eq!(count("src/app.rs", "let publish = SnapshotStore::publish;"), 1);
        assert_eq!(count("src/control/a.rs", "use crate::a::{Other, publish as p};"), 1);
        assert_eq!(count("src/control/a.rs", "self.store.\n    publish(next);"), 1);
        assert_eq!(count("src/control/publish.rs", "self.store.publish(next);"), 0);
        assert_eq!(count("src/snapshot.rs", "/// store.publish(next)\npub fn publish(&self, next: Snapshot) {}"), 0);
        assert_eq!(count("src/control/a.rs", "self.publish_generation(next);"), 0);
        assert_eq!(count("src/proxy/a.rs", "#[cfg(test)]\nmod tests {\n    fn a() { store.publish(b); }\n}\n"), 0);
    }

    #[test]
    fn connections_beside_the_connector_are_found() {
        let count = |path, text| connections(&Source::new(path, text)).len();
        assert_eq!(count("src/cli/a.rs", "let stream = TcpStream::connect((host, port)).await?;"), 1);
        assert_eq!(count("src/control/a.rs", "let stream = std::net::TcpStream::connect_timeout(&to, limit)?;"), 1);
        assert_eq!(count("src/proxy/a.rs", "use tokio::net::{TcpSocket, TcpStream};"), 1);
        assert_eq!(count("src/telemetry/a.rs", "let connector = TlsConnector::from(config);"), 1);
        assert_eq!(count("src/net/connector.rs", "let stream = TcpStream::connect(address).await?;"), 0);
        assert_eq!(count("src/proxy/a.rs", "// TcpStream::connect\nfn serve(stream: TcpStream) {}"), 0);
        assert_eq!(count("src/app/tests/a.rs", "TcpStream::connect(address).unwrap();"), 0);
    }

    #[test]
    fn layers_between_stages_are_found() {
        let count = |path, text| layers(&Source::new(path, text)).len();
        assert_eq!(count("src/proxy/request/a.rs", "use tower::ServiceBuilder;"), 1);
        assert_eq!(count("src/proxy/body/a.rs", "fn a() -> tower_http::catch_panic::CatchPanicLayer {}"), 1);
        assert_eq!(count("src/proxy/thread.rs", "use tower::ServiceBuilder;"), 0);
        assert_eq!(count("src/proxy/request/a.rs", "// tower\nlet tower_of = 1;"), 0);
    }

    #[test]
    fn metrics_are_named_in_telemetry() {
        let count = |path, text| metric_names(&Source::new(path, text)).len();
        assert_eq!(count("src/proxy/a.rs", "counter(\"pointsman_requests_total\")"), 1);
        assert_eq!(count("src/telemetry/a.rs", "counter(\"pointsman_requests_total\")"), 0);
        assert_eq!(count("src/proxy/a.rs", "counter(\"pointsman_sessions_total\")"), 1);
        assert_eq!(count("src/proxy/a.rs", "\"__Host-pointsman_session\""), 0);
        assert_eq!(count("src/control/a.rs", "// pointsman_requests_total\nlet pointsman = 1;"), 0);
    }
}
