//! The files shipped with the binary match it: every routes file is valid, every query uses metrics and labels that
//! exist, every alert has its section in the runbook, and every test that `docs/security.md` names exists.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use pointsman::config::{Diagnostics, Loaded, load, load_text, run_route_tests, schema};
use serde_json::Value;

/// A scrape with every family; a unit test keeps it up to date.
pub const EXPOSITION: &str = include_str!("../../src/telemetry/exposition/golden.txt");
/// Labels that Prometheus adds.
const ADDED: [&str; 3] = ["job", "instance", "le"];

/// The place of the runbook in the alerts: a placeholder that a user replaces once.
const RUNBOOKS: &str = "https://runbooks.example.com/pointsman";
/// Addresses of pods: private ones, and those of the shared address space. `None` is a laptop.
const POD_IPS: [Option<&str>; 4] = [None, Some("127.0.0.1"), Some("10.1.2.3"), Some("100.64.1.2")];

/// The files below `dir` that end with `ending`.
pub fn files(dir: &Path, ending: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).expect("the tests run in the package's folder");
    let mut found = Vec::new();
    for path in entries.map(|entry| entry.expect("a readable folder").path()) {
        if path.is_dir() {
            found.extend(files(&path, ending));
        } else if path.to_string_lossy().ends_with(ending) {
            found.push(path);
        }
    }
    found.sort();
    found
}

pub fn read(path: impl AsRef<Path>) -> String {
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.as_ref().display()))
}

/// The text block of a YAML file that begins with `key: |`.
fn block(yaml: &str, key: &str) -> Option<String> {
    let mut lines = yaml.lines().skip_while(|line| line.trim_start() != format!("{key}: |"));
    let indent = |line: &str| line.len() - line.trim_start().len();
    let outer = indent(lines.next()?);
    let inside: Vec<&str> = lines.take_while(|line| line.trim().is_empty() || indent(line) > outer).collect();
    let shift = inside.iter().filter(|line| !line.trim().is_empty()).map(|line| indent(line)).min()?;
    let lines: Vec<&str> = inside.iter().map(|line| line.get(shift..).unwrap_or("")).collect();
    Some(lines.join("\n") + "\n")
}

#[test]
fn shipped_routes_files_are_valid() {
    let mut said = Vec::new();
    let mut check = |name: &str, loaded: Result<Loaded, Diagnostics>| match loaded {
        Ok(loaded) => said.push(format!("{}{}", loaded.warnings, run_route_tests(&loaded))),
        Err(errors) => said.push(format!("{name}: {errors}")),
    };
    let shipped = files(Path::new("deploy"), ".toml");
    assert!(shipped.len() >= 4, "{shipped:?}");
    for path in shipped.iter().map(PathBuf::as_path).chain([Path::new("routes.toml")]) {
        check(&path.to_string_lossy(), load(path, &|_| None));
    }
    for (path, key) in
        [("deploy/kubernetes/configmap.yaml", "routes.toml"), ("deploy/helm/pointsman/values.yaml", "routes")]
    {
        let text = block(&read(path), key).unwrap_or_else(|| panic!("{path} has no {key}"));
        for pod_ip in POD_IPS {
            let env = |name: &str| pod_ip.filter(|_| name == "POD_IP").map(str::to_owned);
            // A line that is commented out in the file allows the shared address space; nothing else does.
            let allowed = text.replace("# private_networks", "private_networks");
            if pod_ip == Some("100.64.1.2") {
                let refused = load_text(path, &text, &env).err().map(|errors| errors.to_string());
                assert!(refused.is_some_and(|text| text.contains("private_networks")), "{path}");
                check(path, load_text(path, &allowed, &env));
            } else {
                check(path, load_text(path, &text, &env));
            }
        }
    }
    let said = said.concat();
    assert!(said.is_empty(), "{said}");
}

/// `[state] dir` of all shipped routes files but the example: the second place where the commands look for the socket.
const STATE_DIR: &str = "/var/lib/pointsman";

#[test]
fn every_platform_has_a_state_folder() {
    let named = format!("dir = \"{STATE_DIR}\"");
    let is_routes = |text: &str| text.contains("schema = 1");
    let mut routes: Vec<PathBuf> = files(Path::new("deploy"), ".toml");
    routes.extend(files(Path::new("deploy"), ".yaml").into_iter().filter(|path| is_routes(&read(path))));
    let yaml = routes.iter().filter(|path| path.extension().is_some_and(|ending| ending == "yaml")).count();
    assert!(routes.len() >= 8 && yaml >= 4, "{routes:?}");
    for path in routes.iter().filter(|path| !path.ends_with("kustomization.yaml")) {
        assert!(read(path).contains(&named), "{} does not name the state folder", path.display());
    }
    for (path, line) in [
        ("deploy/systemd/pointsman.service", "StateDirectory=pointsman\nStateDirectoryMode=0700\n"),
        ("deploy/systemd/pointsman.service", "RuntimeDirectory=pointsman\n"),
        ("deploy/container/Dockerfile", "VOLUME /var/lib/pointsman\n"),
        ("deploy/compose.yaml", "- state:/var/lib/pointsman\n"),
        ("deploy/kubernetes/deployment.yaml", "{ name: state, mountPath: /var/lib/pointsman }\n"),
        ("deploy/helm/pointsman/templates/_pod.tpl", "mountPath: /var/lib/pointsman\n"),
        ("src/cli/admin/endpoint.rs", "\"/var/lib/pointsman/run/admin.sock\""),
    ] {
        assert!(read(path).contains(line), "{path} has no line `{}`", line.trim_end());
    }
    let loaded = load(Path::new("deploy/systemd/routes.toml"), &|_| None).expect("a valid file");
    assert_eq!(loaded.rules.admin.socket.as_deref(), Some(Path::new("/var/lib/pointsman/run/admin.sock")));
}

#[test]
fn the_shipped_binary_is_built_tested_and_measured_with_the_profile_dist() {
    let manifest: toml::Table = toml::from_str(&read("Cargo.toml")).unwrap();
    let dist = &manifest["profile"]["dist"];
    assert_eq!((dist["lto"].as_str(), dist["codegen-units"].as_integer()), (Some("fat"), Some(1)));
    assert_eq!(manifest["profile"]["bench"]["inherits"].as_str(), Some("dist"));
    for path in ["deploy/container/Dockerfile", ".ci/run", "bench/measure/peers.py"] {
        let text = read(path);
        assert!(text.contains("cargo build") && text.contains("--profile dist"), "{path} does not build it");
        assert!(!text.contains("--release") && !text.contains("release/pointsman"), "{path} has another binary");
    }
}

/// The shipped schema.
const SCHEMA: &str = "deploy/schema/routes.schema.json";

#[test]
fn the_shipped_schema_equals_the_printed_one() {
    let shipped = fs::read_to_string(SCHEMA).unwrap_or_default();
    let renew = format!("write it anew: cargo run -- schema > {SCHEMA}");
    assert!(shipped == format!("{:#}\n", schema()), "{SCHEMA} is not what `pointsman schema` prints; {renew}");
    let example = read("routes.toml");
    let named = example.lines().next().and_then(|line| line.strip_prefix("#:schema ./"));
    assert_eq!(named, Some(SCHEMA), "the first line of routes.toml names the schema for editors");
}

/// Families by name: whether they are histograms, and their labels in the golden scrape.
type Families = BTreeMap<String, Option<(bool, BTreeSet<String>)>>;

fn families() -> Families {
    let mut families = Families::new();
    for path in files(Path::new("src/telemetry"), ".rs") {
        let text = if path.to_string_lossy().contains("exposition") { read(path) } else { String::new() };
        let names = text.split('"').filter(|name| name.starts_with("pointsman_") || name.starts_with("process_"));
        families.extend(names.filter(|name| !name.contains([' ', '{'])).map(|name| (name.to_owned(), None)));
    }
    let mut current = String::new();
    for line in EXPOSITION.lines() {
        if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
            name.clone_into(&mut current);
            families.insert(current.clone(), Some((kind == "histogram", BTreeSet::new())));
        } else if let (Some((_, labels)), Some(Some((_, known)))) = (line.split_once('{'), families.get_mut(&current)) {
            let names = labels.split("\",").filter_map(|label| label.split_once("=\""));
            known.extend(names.map(|(name, _)| name.to_owned()));
        }
    }
    families
}

/// The metrics and labels of a query that the exposition does not have.
fn strangers(query: &str, families: &Families) -> Vec<String> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let mut found = Vec::new();
    let mut rest = query;
    while let Some(at) = rest.find(is_name) {
        let from = &rest[at..];
        let (name, after) = from.split_at(from.find(|c| !is_name(c)).unwrap_or(from.len()));
        rest = after;
        if !name.starts_with("pointsman_") && !name.starts_with("process_") {
            continue;
        }
        let part = ["_bucket", "_sum", "_count"].iter().find_map(|part| name.strip_suffix(part));
        let known = match (families.get(name), part.and_then(|family| families.get(family))) {
            (Some(None), _) | (None, Some(None)) => continue,
            (Some(Some((false, labels))), _) | (None, Some(Some((true, labels)))) => labels,
            (Some(Some((true, _))), _) | (None, Some(Some((false, _))) | None) => {
                found.push(name.to_owned());
                continue;
            }
        };
        let selector = after.strip_prefix('{').and_then(|labels| labels.split_once('}'));
        let labels = selector.map_or("", |(labels, _)| labels).split(", ");
        let names = labels.filter_map(|label| label.split_once(['=', '!'])).map(|(name, _)| name.trim());
        let unknown = names.filter(|label| !known.contains(*label) && !ADDED.contains(label));
        found.extend(unknown.map(|label| format!("{name}{{{label}}}")));
    }
    found
}

/// Every text in a JSON value.
fn texts<'v>(value: &'v Value, into: &mut Vec<&'v str>) {
    match value {
        Value::String(text) => into.push(text),
        Value::Array(all) => all.iter().for_each(|one| texts(one, into)),
        Value::Object(all) => all.values().for_each(|one| texts(one, into)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[test]
fn queries_use_existing_metrics() {
    let families = families();
    assert!(strangers("rate(pointsman_requests_total{route=\"a\", job=~\"b\"}[5m])", &families).is_empty());
    assert_eq!(strangers("pointsman_nothing + pointsman_connections{rout!=\"\"}", &families).len(), 2);
    assert_eq!(strangers("pointsman_request_duration_seconds", &families).len(), 1, "a histogram has no plain series");
    let dashboard: Value = serde_json::from_str(&read("deploy/grafana/pointsman.json")).expect("JSON");
    let mut asked = Vec::new();
    texts(&dashboard, &mut asked);
    let alerts = read("deploy/prometheus/alerts.yml");
    asked.push(&alerts);
    let found: Vec<String> = asked.iter().flat_map(|query| strangers(query, &families)).collect();
    assert!(found.is_empty(), "no such metric or label: {found:#?}");
}

/// The dashboard of Grafana.
fn grafana() -> Value {
    serde_json::from_str(&read("deploy/grafana/pointsman.json")).expect("JSON")
}

fn list<'v>(value: &'v Value, key: &str) -> &'v [Value] {
    value[key].as_array().map(Vec::as_slice).unwrap_or_default()
}

fn name<'v>(value: &'v Value, key: &str) -> &'v str {
    value[key].as_str().unwrap_or_default()
}

/// The values of the label `state` that a metric has in the golden scrape.
fn states(metric: &str) -> BTreeSet<&'static str> {
    let lines = EXPOSITION.lines().filter(|line| line.starts_with(&format!("{metric}{{")));
    lines.filter_map(|line| line.split("state=\"").nth(1)?.split('"').next()).collect()
}

#[test]
fn grafana_asks_the_questions_of_the_dashboard_in_its_order() {
    let grafana = grafana();
    let panels = list(&grafana, "panels");
    let rows: Vec<&str> = panels.iter().filter(|one| one["type"] == "row").map(|row| name(row, "title")).collect();
    let pages = [
        "Overview",
        "Rollout: $rollout",
        "Routes: ",
        "Upstreams: ",
        "Shadows: ",
        "Experiments: ",
        "Kills",
        "Configuration",
    ];
    let places: Vec<usize> = pages
        .iter()
        .map(|page| {
            rows.iter().position(|row| row.starts_with(page)).unwrap_or_else(|| panic!("no row {page}: {rows:?}"))
        })
        .collect();
    assert!(places.is_sorted(), "{rows:?}");
    let first = panels.iter().skip(1).take_while(|one| one["type"] != "row");
    let questions: Vec<&str> = first.take(4).map(|panel| name(panel, "title")).collect();
    assert_eq!(
        questions,
        ["Is anyone hurt now", "Closest guard against its threshold", "What happens next", "Shares: set and measured"]
    );
    let variables: Vec<&str> = list(&grafana["templating"], "list").iter().map(|one| name(one, "name")).collect();
    for variable in ["rollout", "route", "upstream"] {
        assert!(variables.contains(&variable), "{variables:?}");
    }
}

#[test]
fn grafana_has_a_verdict_for_every_state_and_words_for_every_gate() {
    let grafana = grafana();
    let panel = |title: &str| list(&grafana, "panels").iter().find(|one| one["title"] == title).unwrap();
    let verdict = panel("Is anyone hurt now");
    for (metric, target) in [("pointsman_rollout_state", 0), ("pointsman_release_state", 1)] {
        let query = name(&list(verdict, "targets")[target], "expr");
        let selectors: Vec<&str> = query.split("state=~\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
        let known = regex::Regex::new(&format!("^({})$", selectors.join("|"))).unwrap();
        for state in states(metric) {
            assert!(known.is_match(state), "{metric} has the state {state}, and the panel no verdict on it");
        }
    }
    let words = &verdict["fieldConfig"]["defaults"]["mappings"][0]["options"];
    for factor in
        list(verdict, "targets").iter().flat_map(|target| name(target, "expr").split(['(', ' ']).collect::<Vec<_>>())
    {
        assert!(
            factor.parse::<i8>().is_err() || factor == "1" || words[factor]["text"].is_string(),
            "no word for {factor}"
        );
    }
    let kinds = read("docs/reference/metrics.md");
    let kinds = kinds.lines().find(|line| line.starts_with("| `kind` | what stands in the way")).unwrap();
    let kinds: BTreeSet<&str> = kinds.split('`').skip(3).step_by(2).collect();
    let overrides = list(&panel("What happens next")["fieldConfig"], "overrides").to_vec();
    let mapped = overrides.iter().flat_map(|one| list(one, "properties")).find(|one| one["id"] == "mappings").unwrap();
    let mapped = mapped["value"][0]["options"].as_object().unwrap();
    assert_eq!(mapped.keys().map(String::as_str).collect::<BTreeSet<_>>(), kinds);
}

#[test]
fn grafana_shows_no_green_where_nothing_is_judged() {
    let text = read("deploy/grafana/pointsman.json");
    for colour in ["\"green\"", "\"red\"", "\"orange\"", "\"yellow\""] {
        assert!(!text.contains(&format!("\"color\": {colour}")), "{colour} is none of the colours of the dashboard");
    }
    let grafana = grafana();
    let errors = list(&grafana, "panels").iter().find(|one| one["title"] == "5xx").unwrap();
    assert!(!errors["targets"][0]["expr"].as_str().unwrap().contains("vector(0)"), "no request is not no error");
}

#[test]
fn the_runbook_has_every_alert() {
    let runbook = read("docs/operations.md");
    let alerts = read("deploy/prometheus/alerts.yml");
    let names: Vec<&str> = alerts.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(names.len() > 15, "{names:?}");
    for name in names {
        assert!(runbook.contains(&format!("\n### {name}\n")), "docs/operations.md has no section `### {name}`");
    }
}

/// The anchor of a heading, as Markdown viewers generate it.
pub fn anchor(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    text.replace(|c: char| !c.is_alphanumeric() && !" -_".contains(c), "").replace(' ', "-")
}

/// The anchors of a page's headings.
pub fn anchors(markdown: &str) -> BTreeSet<String> {
    markdown.lines().filter(|line| line.starts_with('#')).map(anchor).collect()
}

#[test]
fn each_alert_links_to_its_section() {
    let (alerts, anchors) = (read("deploy/prometheus/alerts.yml"), anchors(&read("docs/operations.md")));
    let lines = || alerts.lines().map(str::trim);
    let names: Vec<&str> = lines().filter_map(|line| line.strip_prefix("- alert: ")).collect();
    let urls: Vec<&str> = lines().filter_map(|line| line.strip_prefix("runbook_url: ")).collect();
    assert_eq!(names.len(), urls.len(), "each alert has one `runbook_url`");
    for (alert, url) in names.iter().zip(&urls) {
        assert_eq!(*url, format!("{RUNBOOKS}/docs/operations.md#{}", alert.to_lowercase()), "the link of {alert}");
        let anchor = url.rsplit('#').next().unwrap_or_default();
        assert!(anchors.contains(anchor), "docs/operations.md has no heading for `#{anchor}`");
    }
    assert!(!alerts.contains("runbook: "), "an annotation that no viewer turns into a link");
    // A tool that replaces the placeholder must name it literally.
    for path in [
        "docs/operations.md",
        "deploy/helm/pointsman/values.yaml",
        "deploy/helm/pointsman/templates/prometheusrule.yaml",
    ] {
        assert!(read(path).contains(RUNBOOKS), "{path} names another placeholder than {RUNBOOKS}");
    }
    assert!(
        alerts.contains(&format!("#   sed -i 's|{RUNBOOKS}|")),
        "alerts.yml explains how to replace the placeholder"
    );
    let chart = read("deploy/helm/pointsman/files/alerts.yml");
    assert_eq!(chart, alerts, "the chart has the same alerts, by a symbolic link");
}

#[test]
fn tests_named_in_the_docs_exist() {
    let security = read("docs/security.md");
    let mut seen = 0;
    for quoted in security.split('`').skip(1).step_by(2) {
        let (path, name) = quoted.split_once("::").unwrap_or((quoted, ""));
        let is_test = [".rs", ".sh"].iter().any(|ending| path.ends_with(ending));
        if !is_test || path.contains([' ', '*']) {
            continue;
        }
        seen += 1;
        let text = read(path);
        assert!(
            name.is_empty() || text.contains(&format!("fn {name}(")),
            "docs/security.md names `{quoted}`: no such test"
        );
    }
    assert!(seen > 50, "docs/security.md names {seen} tests only");
}
