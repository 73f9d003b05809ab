//! Values of the environment are shown as written in the file: a marker is put into every string of a file, and must
//! not appear in any output.

#![expect(clippy::unwrap_used, reason = "a test may fail")]

use std::fs;
use std::path::Path;
use std::process::Command;

use http::{HeaderName, Method};
use pointsman::config::{Color, Diagnostics, Loaded, load_text, run_route_tests};
use pointsman::fields::Fields;
use pointsman::route::{
    EncodedSlash, ExplainRequest, Facts, RouteId, Stop, VariantId, compare, explain, explain_briefly, summary,
};

use crate::process::{Running, ask};

/// A marker that is valid in names, hosts, paths and headers.
const GOOD: &str = "zq7xw9kvj2";
/// A marker that is valid almost nowhere.
const BAD: &str = "Zq7xw9 \"%zz{K\\vj2";
/// A marker that `{:?}` and `escape_debug` show differently, and that is valid in headers, salts and revisions.
const QUOTES: &str = "Zq7x'w9\"k\\vj2";
/// One with a line break.
const BREAK: &str = "zq7x'w9k\n\"vj2";
/// A marker that looks quoted.
const TICK: &str = "Zq7`xw9k`/vj2`";

const MARKERS: [&str; 5] = [GOOD, BAD, TICK, QUOTES, BREAK];

const FULL: &str = r#"
schema = 1
[[listener]]
name = "http"
address = "127.0.0.1:0"
[listener.limits]
header_bytes = "16KiB"
idle_timeout = "60s"
encoded_slash = "keep"
[admin]
address = "127.0.0.1:0"
[access_log]
sink = "off"
format = "json"
[identity]
trusted_proxies = ["127.0.0.0/8"]
tenant = ["header:x-tenant", "host:{tenant}.example.com", "path:/t/{tenant}/*"]
user = ["cookie:uid", "query:user"]
[segment.beta]
tenant = ["acme"]
user = ["alice"]
cidr = ["10.0.0.0/8"]
header = { x-beta = "yes", x-b = { prefix = "be" }, x-c = { regex = "^b" } }
[upstream.shop]
endpoints = ["http://127.0.0.1:1"]
revision = "1"
balance = "hash"
connect_timeout = "1s"
limits = { response_header_bytes = "64KiB" }
[upstream.shop-v2]
endpoints = [{ url = "http://127.0.0.1:2", weight = 2 }]
[[route]]
name = "shop"
stable = "shop"
sticky = ["user", "client_ip"]
sticky_cookie = "pm"
salt = "pepper"
canary = { upstream = "shop-v2", weight = 20 }
rewrite = { prefix = "/inner", host = "inner.example.com" }
timeout = { request = "5s", idle = "5s" }
limits = { body = "10MiB", upgrade = "websocket" }
[route.match]
host = ["shop.example.com", "*.shop.example.com"]
path = "/shop/*"
methods = ["GET"]
listener = "http"
header = { x-api = "2" }
query = { q = "1" }
cookie = { c = "1" }
[route.headers]
request = { set = { authorization = "Bearer abc" }, add = { x-a = "1" }, remove = ["x-b"] }
response = { set = { x-r = "{route}" } }
[[route.variant]]
name = "blue"
upstream = "shop"
weight = 10
[[route.target]]
segment = "beta"
serve = "canary"
[[route.target]]
header = { x-canary = "always" }
serve = "blue"
[route.shadow]
upstream = "shop-v2"
weight = 10
[[route]]
name = "old"
match = { path = { regex = "/old/.*" } }
redirect = { to = "https://new.example.com{path}" }
[[route]]
name = "fine"
match = { host = "fine.example.com" }
respond = { status = 200, body = "fine", content_type = "text/plain" }
[kill]
routes = []
variants = ["shop:blue"]
tenants = ["evil"]
close_streams = "1s"
[notify]
to = ["webhook:http://hooks.example.com/abc", "slack:http://ana:word@127.0.0.1:1/T/B/x"]
secret = "0123456789abcdef"
timeout = "5s"
[dns]
max_ttl = "60s"
[traces]
otlp = "http://127.0.0.1:4318"
protocol = "http"
service = "edge"
attributes = { team = "a" }
headers = { authorization = "Bearer x" }
[[test]]
request = { method = "GET", host = "shop.example.com", path = "/shop/x?q=1", header = { x-api = "2" }, cookie = { c = "1" } }
expect = { route = "shop" }
"#;

/// Keys of addresses, which are shown where they are in use.
const PLACES: &[&str] = &["name = \"http", "address", "endpoints", "url", "otlp", "sink"];

/// The text with one string after the other changed, and the line of the change.
fn edits(edit: impl Fn(&str) -> String) -> Vec<(String, String)> {
    let quotes: Vec<usize> = FULL.match_indices('"').map(|(at, _)| at).collect();
    let strings = quotes.chunks(2).map(|pair| (pair[0] + 1, pair[1]));
    strings
        .map(|(from, to)| {
            let line = FULL[..from].rfind('\n').map_or(0, |at| at + 1);
            let end = FULL[to..].find('\n').map_or(FULL.len(), |at| to + at);
            let text = format!("{}{}{}", &FULL[..from], edit(&FULL[from..to]), &FULL[to..]);
            (text, FULL[line..end].to_owned())
        })
        .collect()
}

/// Checks that no four letters of the marker appear.
#[track_caller]
fn clean(what: &str, text: &str, line: &str) {
    let text = text.to_lowercase();
    for marker in MARKERS {
        let letters: Vec<char> = marker.to_lowercase().chars().collect();
        for run in letters.windows(4).map(|run| run.iter().collect::<String>()) {
            assert!(!text.contains(&run), "`{run}` in {what} of `{line}`:\n{text}");
        }
    }
}

fn clean_diagnostics(diagnostics: &Diagnostics, line: &str) {
    clean("the text", &diagnostics.render(Color::Never), line);
    clean("the JSON", &diagnostics.to_json().to_string(), line);
}

/// Checks all output for rules that load.
fn shown(loaded: &Loaded, plain: &Loaded, line: &str) {
    clean_diagnostics(&loaded.warnings, line);
    clean_diagnostics(&run_route_tests(loaded).diagnostics, line);
    for (old, new) in [(loaded, plain), (plain, loaded)] {
        clean("the summary", &summary(old.effective(), new.effective()).join("\n"), line);
        clean("what-if", &format!("{:?}", compare(old.effective(), new.effective())), line);
    }
    let mut fields = Fields::new();
    for (name, value) in [("x-api", "2"), ("cookie", "c=1; uid=alice"), ("x-canary", "always"), ("x-tenant", "acme")] {
        fields.append(&HeaderName::from_static(name), &value.parse().unwrap());
    }
    let method = Method::GET;
    for (host, path_and_query) in [
        ("shop.example.com", "/shop/x?q=1"),
        ("a.shop.example.com", "/shop/x"),
        ("b", "/old/x"),
        ("fine.example.com", "/"),
        ("absent.example.com", "/old"),
    ] {
        let asked = ExplainRequest {
            method: &method,
            host,
            path_and_query,
            fields: &fields,
            peer: "127.0.0.1".parse().unwrap(),
            client_cert: None,
            listener: "http",
            scheme: "http",
            encoded_slash: EncodedSlash::Keep,
            facts: Facts::default(),
        };
        for explanation in [explain(loaded.effective(), &asked), explain_briefly(loaded.effective(), &asked)] {
            clean("explain", &format!("{explanation}\n{explanation:?}"), line);
            clean("the line of explain", &explanation.line(), line);
        }
    }
}

fn load(text: &str, value: &str) -> Result<Loaded, Diagnostics> {
    load_text("routes.toml", text, &|name| (name == "SECRET").then(|| value.to_owned()))
}

#[test]
fn no_string_of_a_file_shows_a_value_of_the_environment() {
    let plain = load(FULL, "").unwrap_or_else(|errors| panic!("{errors}"));
    let (mut good, mut bad) = (0, 0);
    let ways: [fn(&str) -> String; 4] = [
        |_| "${SECRET}".to_owned(),
        |text| format!("{text}${{SECRET}}"),
        |text| format!("${{SECRET:-x}}{text}"),
        |text| format!("{}${{SECRET}}{}", &text[..text.len() / 2], &text[text.len() / 2..]),
    ];
    for way in ways {
        for (text, line) in edits(way) {
            for value in MARKERS {
                match load(&text, value) {
                    Err(errors) => {
                        bad += 1;
                        clean_diagnostics(&errors, &line);
                    }
                    Ok(loaded) if PLACES.iter().any(|place| line.starts_with(place)) => {
                        clean_diagnostics(&loaded.warnings, &line);
                    }
                    Ok(loaded) => {
                        good += 1;
                        shown(&loaded, &plain, &line);
                    }
                }
            }
        }
    }
    assert!(good > 100 && bad > 200, "{good} files were good, {bad} bad");
}

/// The output of `explain` for a request to the route `shop`.
fn explained(loaded: &Loaded, path_and_query: &str) -> String {
    let mut fields = Fields::new();
    fields.append(&HeaderName::from_static("x-api"), &"2".parse().unwrap());
    fields.append(&http::header::COOKIE, &"c=1; uid=alice".parse().unwrap());
    let asked = ExplainRequest {
        method: &Method::GET,
        host: "shop.example.com",
        path_and_query,
        fields: &fields,
        peer: "127.0.0.1".parse().unwrap(),
        client_cert: None,
        listener: "http",
        scheme: "http",
        encoded_slash: EncodedSlash::Keep,
        facts: Facts::default(),
    };
    explain(loaded.effective(), &asked).to_string()
}

#[test]
fn quotes_backslashes_and_control_characters_do_not_show_a_value() {
    let plain = load(FULL, "").unwrap();
    for value in ["pa'ss\"word77", "it's\\secret99", "it's\tsecret99"] {
        for (from, to) in [
            ("salt = \"pepper\"", "salt = \"${SECRET}\""),
            ("x-b = { prefix = \"be\" }", "x-b = { prefix = \"${SECRET}\" }"),
            ("\"Bearer abc\"", "\"Bearer ${SECRET}\""),
            (
                "[segment.beta]\ntenant = [\"acme\"]",
                "[segment.beta]\ntenant = [\"acme\"]\nquery = { q = \"${SECRET}\" }",
            ),
        ] {
            let Ok(loaded) = load(&FULL.replace(from, to), value) else { continue };
            let said = [
                explained(&loaded, "/shop/x?q=1"),
                summary(plain.effective(), loaded.effective()).join("\n"),
                format!("{:?}", compare(plain.effective(), loaded.effective())),
            ];
            for said in said {
                for part in ["pa'ss", "word77", "it's", "secret99"] {
                    assert!(!said.contains(part), "`{part}` of `{to}`:\n{said}");
                }
            }
        }
    }
}

#[test]
fn common_words_as_values_leave_other_text_alone() {
    let text = FULL
        .replace("x-a = \"1\"", "x-a = \"${SECRET}\"")
        .replace("salt = \"pepper\"", "salt = \"${SECRET}-salt\"")
        .replace("path = \"/shop/*\"", "path = [\"/shop/*\", \"/products/*\"]");
    let changed = text.replace("weight = 20", "weight = 30").replace("[\"GET\"]", "[\"GET\", \"POST\"]");
    for value in ["prod", "stable", "localhost", "http", "must", "true", "1000"] {
        let path = "/products/production?q=1&stable=https://localhosts";
        let loaded = load(&text, value).unwrap_or_else(|errors| panic!("{errors}"));
        let plain = load(&text.replace("${SECRET}", value), "").unwrap();
        let (masked, open) = (explained(&loaded, path), explained(&plain, path));
        let edit = "add x-a: ";
        assert!(masked.contains("add x-a: ${SECRET}\n"), "{masked}");
        assert_eq!(masked.replace("${SECRET}", value), open, "only values are replaced");
        let differing: Vec<_> = masked.lines().filter(|line| line.contains("${SECRET}")).collect();
        assert!(differing.iter().all(|line| line.contains(edit) || line.contains("salt")), "{differing:?}");
        let plain = load(&changed.replace("${SECRET}", value), "").unwrap();
        let changed = load(&changed, value).unwrap();
        assert_eq!(
            summary(loaded.effective(), changed.effective()),
            summary(load(&text.replace("${SECRET}", value), "").unwrap().effective(), plain.effective()),
        );
    }
}

#[test]
fn diagnostics_stay_readable_where_a_value_is_a_common_word() {
    for value in ["prod", "stable", "localhost", "http"] {
        let text = FULL
            .replace("stable = \"shop\"", "stable = \"${SECRET}-shop\"")
            .replace("weight = 20 }", "weigth = 20 }")
            .replace("listener = \"http\"", "listener = \"https\"")
            .replace("\"shop-v2\"\nweight", "\"products\"\nweight")
            .replace("x-a = \"1\"", "x-a = \"${SECRET}\"");
        let open = load(&text.replace("${SECRET}", value), "").unwrap_err().to_json();
        let masked = load(&text, value).unwrap_err().to_json();
        let messages = |json: &serde_json::Value| {
            let all = json["diagnostics"].as_array().or_else(|| json.as_array()).unwrap().clone();
            all.iter().map(|one| one["message"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        let (open, masked) = (messages(&open), messages(&masked));
        assert!(open.len() >= 4, "{open:?}");
        let expected: Vec<_> =
            open.iter().map(|text| text.replace(&format!("`{value}-shop`"), "`${SECRET}-shop`")).collect();
        assert_eq!(masked, expected, "{value}");
    }
}

#[test]
fn words_around_variables_and_two_variables_with_one_value_are_shown_as_written() {
    let text = FULL
        .replace("\"Bearer abc\"", "\"Bearer ${A}${B}-x\"")
        .replace("x-a = \"1\"", "x-a = \"${C}\", x-d = \"$${{x${D}x\"")
        .replace("salt = \"pepper\"", "salt = \"s-${A}-${B}\"");
    let values = [("A", "tok-1"), ("B", "tok-1"), ("C", "tok-1"), ("D", "q{{9}}w")];
    let loaded = load_text("routes.toml", &text, &|name| {
        values.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
    });
    let shown = explained(&loaded.unwrap_or_else(|errors| panic!("{errors}")), "/shop/x?q=1");
    for part in [
        "authorization: Bearer ${A}${B}-x\n",
        "add x-a: ${A} or ${B} or ${C}\n",
        "by salt s-${A}-${B}: ",
        "add x-d: $${{x${D}x\n",
    ] {
        assert!(shown.contains(part), "`{part}` is missing in\n{shown}");
    }
    assert!(!shown.contains("tok-1") && !shown.contains("q{9}w"), "{shown}");
}

#[test]
fn a_request_value_is_shown_where_a_template_inserts_it() {
    let text = FULL
        .replace("x-a = \"1\"", "x-a = \"{tenant}-${SECRET}\"")
        .replace("prefix = \"/inner\"", "prefix = \"/in-${SECRET}\"")
        .replace("\"host:{tenant}.example.com\", ", "\"query:t\", ");
    let loaded = load(&text, GOOD).unwrap_or_else(|errors| panic!("{errors}"));
    let shown = explained(&loaded, &format!("/shop/{GOOD}?q=1&t={GOOD}"));
    assert!(shown.contains(&format!("x-a: {GOOD}-${{SECRET}}\n")), "{shown}");
    assert!(shown.contains(&format!("/in-${{SECRET}}/{GOOD}?q=1")), "{shown}");
}

#[test]
fn addresses_are_shown_where_they_are_in_use() {
    let text = FULL.replace("http://127.0.0.1:1\"", "http://${SECRET}.test:1\"");
    let (plain, loaded) = (load(FULL, "").unwrap(), load(&text, GOOD).unwrap());
    let lines = summary(plain.effective(), loaded.effective()).join("\n");
    assert!(lines.contains(&format!("http://{GOOD}.test:1")), "{lines}");
}

#[test]
fn a_diagnostic_names_the_variable_and_points_at_its_use() {
    let text = FULL.replace("http://127.0.0.1:1\"", "${SECRET}\"");
    let errors = load(&text, "a value that is far longer than its name").unwrap_err().render(Color::Never);
    for part in [
        "error[bad-endpoint]: `${SECRET}` is not a URL",
        "| endpoints = [\"${SECRET}\"]",
        "|              ^^^^^^^^^^^\n",
        "= help: the value of `SECRET` comes from the environment and is not shown; see `printenv SECRET`",
    ] {
        assert!(errors.contains(part), "`{part}` is missing in\n{errors}");
    }
    // One letter, and a value that is similar to a name.
    for (value, written) in [("x", "${SECRET}"), ("shop-v3", "${SECRET}"), ("hop-v2", "s${SECRET}x")] {
        let text = FULL.replace("stable = \"shop\"", &format!("stable = \"{written}\""));
        let errors = load(&text, value).unwrap_err().render(Color::Never);
        assert!(errors.contains(&format!("there is no upstream `{written}`")), "{errors}");
        assert!(!errors.contains("did you mean"), "{errors}");
    }
}

#[test]
fn names_are_found_by_value_and_shown_as_written() {
    let text = FULL
        .replace("name = \"shop\"", "name = \"shop-${SECRET}\"")
        .replace("name = \"blue\"", "name = \"${SECRET}\"")
        .replace("serve = \"blue\"", &format!("serve = \"{GOOD}\""))
        .replace("\"shop:blue\"", &format!("\"shop-{GOOD}:{GOOD}\""))
        .replace("route = \"shop\"", &format!("route = \"shop-{GOOD}\""));
    let loaded = load(&text, GOOD).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(loaded.rules.routes[0].name, "shop-${SECRET}");
    let split = loaded.rules.routes[0].split().unwrap();
    assert!(split.variants[2].name == "${SECRET}");
    assert_eq!(loaded.overlay.split(RouteId(0)).stopped(VariantId(2)), Some(Stop::Kill));
    assert_eq!(run_route_tests(&loaded).failed, 0, "{}", run_route_tests(&loaded));
    let plain = load(&text.replace("${SECRET}", GOOD), "").unwrap();
    let salts = [&loaded, &plain].map(|loaded| loaded.rules.routes[0].split().unwrap().salt.text().to_owned());
    assert_eq!(salts[0], salts[1]);
}

/// The binary, with the marker in its environment.
fn binary(dir: &Path, words: &[&str]) -> Command {
    let mut command = crate::process::command(dir, words);
    command.env("SECRET", GOOD);
    command
}

#[test]
fn the_binary_shows_nothing_in_any_format_page_or_log() {
    let dir = tempfile::tempdir().unwrap();
    let bad = FULL.replace("\"shop-v2\"", "\"shop-${SECRET}\"").replace("\"1s\"", "\"${SECRET}\"");
    fs::write(dir.path().join("bad.toml"), &bad).unwrap();
    for format in ["text", "json", "github", "sarif"] {
        let output = binary(dir.path(), &["check", "bad.toml", "--format", format]).output().unwrap();
        assert_eq!(output.status.code(), Some(78));
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8(said).unwrap();
        assert!(said.contains("${SECRET}"), "{said}");
        clean(format, &said, "bad.toml");
    }
    let good = FULL
        .replace("\"stdout\"", "\"off\"")
        .replace("name = \"shop\"", "name = \"shop-${SECRET}\"")
        .replace("route = \"shop\"", "route = \"shop-${SECRET}\"")
        .replace("\"shop:blue\"", "\"shop-${SECRET}:blue\"")
        .replace("Bearer abc", "Bearer ${SECRET}")
        .replace("revision = \"1\"", "revision = \"${SECRET}\"")
        .replace("sink = \"off\"", "sink = \"stdout\"");
    let (good, _) = good.split_once("[traces]").unwrap();
    let path = dir.path().join("routes.toml");
    fs::write(&path, good).unwrap();
    let mut proxy = Running::watch(binary(dir.path(), &["run", "--workers", "1"]));
    let (listener, admin) = (proxy.word_after("listener"), proxy.word_after("admin"));
    ask(&listener, "GET /shop/x?q=1 HTTP/1.1\nx-api: 2\ncookie: c=1");
    let explained = "GET /explain?host=shop.example.com&path=/shop/x%3Fq%3D1&header=x-api:2&cookie=c%3D1 HTTP/1.1";
    let pages = |what: &str| {
        for page in ["GET /status HTTP/1.1", "GET /metrics HTTP/1.1", "GET /shadow HTTP/1.1", explained] {
            let (status, body) = ask(&admin, page);
            assert_eq!(status, 200, "{page}: {body}");
            clean(page, &body, what);
        }
    };
    pages("good rules");
    assert!(ask(&admin, "GET /status HTTP/1.1").1.contains("shop-${SECRET}"));
    fs::write(&path, good.replace("weight = 20", "weight = 30")).unwrap();
    assert_eq!(ask(&admin, "POST /reload HTTP/1.1").0, 200);
    fs::write(&path, good.replace("\"5s\"", "\"${SECRET}\"")).unwrap();
    let (status, body) = ask(&admin, "POST /reload HTTP/1.1");
    assert!(status == 422 && body.contains("${SECRET}"), "{status} {body}");
    clean("the answer of a reload", &body, "bad rules");
    pages("bad rules");
    proxy.signal("TERM");
    let (_, log) = proxy.end();
    clean("the log", &log, "all");
}
