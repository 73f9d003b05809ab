//! Generated parts of a page, between `<!-- generated: WHAT -->` and `<!-- /generated -->`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use pointsman::config::schema;

use super::keys;
use crate::deploy::{EXPOSITION, anchor};
use crate::process::finish;

const BEGIN: &str = "<!-- generated: ";
const END: &str = "<!-- /generated -->";
/// The table of faults, which a unit test keeps true: detail, status, error of RFC 9209, who, status of gRPC, failure,
/// retry, close, message.
const FAULTS: &str = include_str!("../../../src/proxy/wire/fault/table.txt");
/// How Pointsman reads responses otherwise than hyper, which a unit test keeps true: name, response, hyper, Pointsman,
/// RFC, why.
const DEVIATIONS: &str = include_str!("../../../src/proxy/wire/tests/deviations.txt");
/// Faults for which a connection or stream is closed; no response is sent.
const CLOSED: [&str; 14] = [
    "client_gone",
    "reader_stalled",
    "reader_shed",
    "connections",
    "connections_per_ip",
    "connection_rate",
    "h2_resets",
    "h2_resets_per_ip",
    "h2_pings",
    "h2_settings",
    "h2_continuations",
    "h2_protocol",
    "proxy_header_missing",
    "proxy_header_malformed",
];
/// Labels whose values come from the configuration or from the machine.
const CONFIGURED: [&str; 10] =
    ["route", "variant", "rollout", "stage", "guard", "upstream", "listener", "name", "worker", "receiver"];

/// The `WHAT` of all generated parts of a page, in order.
pub fn requests(page: &str) -> Vec<&str> {
    page.lines().filter_map(request).collect()
}

fn request(line: &str) -> Option<&str> {
    line.strip_prefix(BEGIN)?.strip_suffix(" -->")
}

/// The page with all generated parts made again.
pub fn renew(page: &str) -> String {
    let places = places(page);
    let mut out = String::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        writeln!(out, "{line}").unwrap();
        if let Some(request) = request(line) {
            assert!(lines.any(|line| line == END), "`{line}` has no `{END}`");
            write!(out, "\n{}\n{END}\n", make(request, &places)).unwrap();
        }
    }
    out
}

/// The anchors of the headings above the tables of keys, by path.
fn places(page: &str) -> BTreeMap<&str, String> {
    let mut places = BTreeMap::new();
    let mut heading = "";
    for line in page.lines() {
        if line.starts_with('#') {
            heading = line;
        } else if let Some(path) = request(line).and_then(|request| request.strip_prefix("keys ")) {
            places.insert(path, anchor(heading));
        }
    }
    places
}

fn make(request: &str, places: &BTreeMap<&str, String>) -> String {
    let (what, of) = request.split_once(' ').unwrap_or((request, ""));
    match what {
        "keys" => keys::table(&schema(), of, places),
        "metrics" => metrics(of),
        "help" => format!("```text\n{}```\n", help(of)),
        "faults" => faults(),
        "responses" => responses(),
        _ => panic!("`{request}` cannot be generated"),
    }
}

/// What `--help` of a command prints.
pub fn help(command: &str) -> String {
    let words: Vec<&str> = command.split_whitespace().chain(["--help"]).collect();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let finished = finish(folder.path(), &words);
    assert_eq!(finished.code, 0, "{}", finished.stderr);
    let lines = finished.stdout.lines().map(|line| line.trim_end().to_owned() + "\n");
    lines.collect()
}

fn faults() -> String {
    let mut out = String::from("| `details` | status | `error` | ended by | gRPC status | also sent | text |\n");
    out += "|---|---|---|---|---|---|---|\n";
    for line in FAULTS.lines() {
        let columns: Vec<&str> = line.splitn(9, ' ').collect();
        let [detail, status, error, ended_by, grpc, _, retry, close, text] = columns[..] else {
            panic!("nine columns: {line}");
        };
        if CLOSED.contains(&detail) {
            continue;
        }
        let also = match (retry, close) {
            ("retry", _) => "`Retry-After`",
            (_, "close") => "`Connection: close`",
            _ => "",
        };
        let ended_by = ended_by.to_lowercase();
        writeln!(out, "| `{detail}` | {status} | `{error}` | {ended_by} | {grpc} | {also} | {text} |").unwrap();
    }
    out
}

fn responses() -> String {
    let mut out = String::from("| response | Pointsman | hyper | RFC | why |\n|---|---|---|---|---|\n");
    for line in DEVIATIONS.lines().filter(|line| !line.starts_with('#')) {
        let [_, response, hyper, pointsman, rfc, why] = line.split(" | ").collect::<Vec<_>>()[..] else {
            panic!("six columns: {line}");
        };
        writeln!(out, "| {response} | {pointsman} | {hyper} | {rfc} | {why} |").unwrap();
    }
    out
}

/// A family of metrics.
#[derive(Default)]
pub struct Family {
    pub name: String,
    kind: String,
    help: String,
    /// The labels, each with the values that the shipped scrape has.
    labels: BTreeMap<String, BTreeSet<String>>,
}

/// All families, in the order of a scrape.
pub fn families() -> Vec<Family> {
    let mut families: Vec<Family> = Vec::new();
    for line in EXPOSITION.lines() {
        if let Some((name, help)) = line.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' ')) {
            families.push(Family { name: name.to_owned(), help: help.to_owned(), ..Family::default() });
        }
        let family = families.last_mut().expect("a scrape begins with a help text");
        if let Some((_, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
            kind.clone_into(&mut family.kind);
        } else if let Some((_, labels)) = line.split_once('{').filter(|_| !line.starts_with('#')) {
            for (name, value) in labels.split("\",").flat_map(|label| label.split("\"}")).filter_map(label) {
                family.labels.entry(name).or_default().insert(value);
            }
        }
    }
    families
}

fn label(text: &str) -> Option<(String, String)> {
    let (name, value) = text.split_once("=\"")?;
    (name != "le").then(|| (name.to_owned(), value.to_owned()))
}

/// The values of labels that the code names.
pub fn label_values() -> BTreeSet<String> {
    let own = |family: &Family| family.name != "pointsman_build_info";
    let labels = families().into_iter().filter(own).flat_map(|family| family.labels);
    labels.filter(|(name, _)| !CONFIGURED.contains(&name.as_str())).flat_map(|(_, values)| values).collect()
}

fn metrics(prefixes: &str) -> String {
    let mut out = String::from("| metric | type | labels | meaning |\n|---|---|---|---|\n");
    let wanted = |family: &Family| prefixes.split_whitespace().any(|prefix| family.name.starts_with(prefix));
    for family in families().into_iter().filter(wanted) {
        let Family { name, kind, help, labels } = family;
        let labels: Vec<String> = labels.into_keys().map(|label| format!("`{label}`")).collect();
        writeln!(out, "| `{name}` | {kind} | {} | {help} |", labels.join(", ")).unwrap();
    }
    out
}
