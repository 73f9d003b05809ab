//! The bodies of the fuzz targets with random input, so that they hold wherever `cargo test` runs.
//!
//! The inputs are the fuzzers' seeds, mutated; the seed of the generator is fixed, so that a failure comes again. The
//! fuzzers themselves go deeper: `cargo fuzz run config`.

#[path = "../fuzz/bodies/compare.rs"]
mod compare;
#[path = "../fuzz/bodies/config.rs"]
mod config;
#[path = "../fuzz/bodies/endpoints.rs"]
mod endpoints;
#[path = "../fuzz/bodies/fields.rs"]
mod fields;
#[path = "../fuzz/bodies/head.rs"]
mod head;
#[path = "../fuzz/bodies/journal.rs"]
mod journal;
#[path = "../fuzz/bodies/proxy.rs"]
mod proxy;
#[path = "../fuzz/bodies/request.rs"]
mod request;
#[path = "../fuzz/bodies/response.rs"]
mod response;
#[path = "../fuzz/bodies/route.rs"]
mod route;

use std::fs;
use std::panic::catch_unwind;
use std::path::Path;

/// Pieces that matter to one of the grammars.
const PIECES: &[&[u8]] = &[
    b"\r\n",
    b"\n",
    b"\r",
    b"\0",
    b" ",
    b"\t",
    b"/",
    b"//",
    b"/..",
    b"%2e",
    b"%2F",
    b"%",
    b"\\",
    b":",
    b"[",
    b"]",
    b"{",
    b"}",
    b"\"",
    b"'",
    b"=",
    b",",
    b";",
    b"#",
    b"${",
    b"*",
    b"0",
    b"ffffffffffffffff",
    b"-1",
    b"1e400",
    b"HTTP/1.0",
    b"Transfer-Encoding: chunked\r\n",
    b"Content-Length: 0\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\n",
    b"http://a",
    b"HTTP/1.1 200 OK\r\n",
    b"HTTP/1.1 103 Early Hints\r\n\r\n",
    b"0\r\n\r\n",
    b"[[route]]\n",
    b"http://10.0.0.1:80\n",
    b" weight=2",
    b" backup",
    b" drain",
    b"weight = 101\n",
    b"\xff\xfe",
    b"\r\n\r\n\0\r\nQUIT\n",
    b"PROXY TCP6 ",
    b"\x21\x21\x00\x24",
    b"\xc3\xa9",
    b"\\ud83d",
    b"\"a\":",
    b"null",
    b"\"kill\"",
    b"\"revive\"",
    b"\"tenant\":\"acme\",",
];

fn check(name: &str, rounds: usize, body: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(name);
    let mut paths: Vec<_> = fs::read_dir(&folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    paths.sort();
    let seeds: Vec<Vec<u8>> = paths.iter().filter_map(|path| fs::read(path).ok()).collect();
    assert!(!seeds.is_empty(), "no seeds in {}", folder.display());
    let mut random = fastrand::Rng::with_seed(0x0070_6f69_6e74);
    for round in 0..rounds {
        let mut input = seeds[round % seeds.len()].clone();
        // The first turn through the seeds leaves them as they are.
        for _ in 0..if round < seeds.len() { 0 } else { random.usize(1..6) } {
            mutate(&mut input, &mut random);
        }
        assert!(
            catch_unwind(|| body(&input)).is_ok(),
            "round {round} of {name} with {:?}",
            String::from_utf8_lossy(&input)
        );
    }
}

fn mutate(input: &mut Vec<u8>, random: &mut fastrand::Rng) {
    let at = random.usize(0..=input.len());
    let end = random.usize(at..=input.len().min(at + 20));
    match random.u8(0..5) {
        0 => drop(input.drain(at..end)),
        1 => drop(input.splice(at..at, PIECES[random.usize(0..PIECES.len())].iter().copied())),
        2 => drop(input.splice(at..end, PIECES[random.usize(0..PIECES.len())].iter().copied())),
        3 => input.extend_from_within(at..end),
        _ => {
            if let Some(byte) = input.get_mut(at) {
                *byte = random.u8(..);
            }
        }
    }
}

#[test]
fn any_bytes_as_routes_toml() {
    let seed = include_str!("../fuzz/seeds/config/small.toml");
    let loaded = pointsman::config::load_text("small.toml", seed, &|_| None);
    assert!(loaded.is_ok(), "mutations start from a good file: {:?}", loaded.err());
    check("config", 4_000, config::any);
}

#[test]
fn any_bytes_as_a_file_of_endpoints() {
    let seed = include_str!("../fuzz/seeds/endpoints/roles");
    assert_eq!(
        pointsman::config::parse_endpoints(seed).map(|all| all.len()),
        Ok(4),
        "mutations start from a good file"
    );
    check("endpoints", 20_000, endpoints::any);
}

#[test]
fn any_host_and_path() {
    check("route", 20_000, route::any);
}

#[test]
fn any_request_head() {
    check("head", 20_000, head::any);
}

#[test]
fn any_requests_of_a_connection() {
    check("request", 20_000, request::any);
}

#[test]
fn any_acts_on_fields() {
    check("fields", 20_000, fields::any);
}

#[test]
fn any_response() {
    check("response", 20_000, response::any);
}

#[test]
fn any_proxy_header() {
    check("proxy", 20_000, proxy::any);
}

#[test]
fn any_two_answers() {
    check("compare", 20_000, compare::any);
}

#[test]
fn any_bytes_as_a_journal() {
    let seed = include_bytes!("../fuzz/seeds/journal/records");
    let verified = pointsman::journal::verify_bytes(seed);
    assert!(verified.is_intact() && verified.records == 10, "mutations start from a good file: {verified:?}");
    let saved = include_bytes!("../fuzz/seeds/journal/saved");
    assert!(pointsman::journal::SavedState::parse(saved).is_ok(), "and from a good saved state");
    let verified = pointsman::journal::verify_bytes(include_bytes!("../fuzz/seeds/journal/releases"));
    assert!(verified.is_intact(), "{verified:?}");
    let saved = include_bytes!("../fuzz/seeds/journal/saved-latches");
    assert!(pointsman::journal::SavedState::parse(saved).is_ok_and(|saved| saved.latches.len() == 1));
    let verified = pointsman::journal::verify_bytes(include_bytes!("../fuzz/seeds/journal/rollouts"));
    assert!(verified.is_intact(), "{verified:?}");
    let saved = include_bytes!("../fuzz/seeds/journal/saved-rollouts");
    assert!(pointsman::journal::SavedState::parse(saved).is_ok_and(|saved| saved.rollouts.len() == 2));
    check("journal", 4_000, journal::any);
}
