//! The command line: the output of each subcommand, and the exit code that a script relies on.

#![expect(clippy::unwrap_used, reason = "a test may fail")]

use std::fs;

use pointsman::clock::Clock;
use serde_json::Value;

use crate::harness::PATIENCE;
use crate::process::{Finished, Running, ask, finish};

const ROUTES: &str = r#"
schema = 1
[[listener]]
name = "http"
address = "127.0.0.1:0"
[admin]
address = "127.0.0.1:0"
[access_log]
sink = "off"
[identity]
trusted_proxies = ["127.0.0.0/8"]
tenant = ["header:x-tenant"]
user = ["cookie:uid"]
[segment.beta]
tenant = ["acme"]
[upstream.shop-v1]
endpoints = ["http://127.0.0.1:1"]
[upstream.shop-v2]
endpoints = ["http://127.0.0.1:2"]
[[route]]
name = "shop"
match = { host = "shop.example.com", path = "/*" }
stable = "shop-v1"
sticky = ["user"]
canary = { upstream = "shop-v2", weight = 10 }
[[route.target]]
segment = "beta"
serve = "canary"
[[route]]
name = "health"
match = { path = "/health" }
respond = { status = 200, body = "fine" }
[[test]]
request = { host = "shop.example.com", path = "/", header = { x-tenant = "acme" } }
expect = { route = "shop", variant = "canary" }
"#;

/// A directory with this `routes.toml`.
fn dir(routes: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("routes.toml"), routes).unwrap();
    dir
}

/// Runs a command line, split at blanks, and checks its exit code.
#[track_caller]
fn check(dir: &tempfile::TempDir, line: &str, code: i32) -> Finished {
    let words: Vec<&str> = line.split_whitespace().collect();
    let finished = finish(dir.path(), &words);
    assert_eq!(finished.code, code, "`{line}`\n{}\n{}", finished.stdout, finished.stderr);
    finished
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error} in\n{text}"))
}

#[test]
fn help_and_usage() {
    let dir = dir(ROUTES);
    for line in [
        "--help",
        "--version",
        "help",
        "run --help",
        "demo --help",
        "check -h",
        "init --help",
        "status --help",
        "reload -h",
        "compare --help",
        "dashboard --help",
        "explain --help",
        "what-if --help",
        "schema --help",
        "completions --help",
    ] {
        let finished = check(&dir, line, 0);
        assert!(!finished.stdout.is_empty() && finished.stderr.is_empty(), "{line}");
    }
    for line in [
        "",
        "fly",
        "check --jason",
        "check a b",
        "run --workers 0",
        "run --workers many",
        "run --drain-delay 5",
        "explain --path /",
        "explain --host a --path x",
        "explain --host a --header nocolon",
        "explain --host a --cookie novalue",
        "explain --host a --file x --admin http://y",
        "explain x --host a --admin http://y",
        "explain x --host a --file y",
        "explain --host a --client-ip none",
        "what-if",
        "completions",
        "completions cmd",
        "demo --port 99999",
        "--color pink check",
    ] {
        let finished = check(&dir, line, 64);
        assert!(finished.stdout.is_empty() && !finished.stderr.is_empty(), "{line}");
    }
    let workers = check(&dir, "run --workers abc", 64).stderr;
    assert!(workers.contains("a whole number, 1 or more"), "{workers}");
    let help = check(&dir, "--help", 0).stdout;
    for code in ["0 ", "1 ", "64 ", "78 "] {
        assert!(help.lines().any(|line| line.trim_start().starts_with(code)), "{code} is not explained in\n{help}");
    }
}

#[test]
fn check_sums_up_a_good_file() {
    let dir = dir(ROUTES);
    let finished = check(&dir, "check", 0);
    assert!(finished.stdout.starts_with("routes.toml: 2 routes, 2 upstreams, 1 test passed"), "{}", finished.stdout);
    let report = json(&check(&dir, "check routes.toml --json", 0).stdout);
    assert_eq!(report["ok"], true);
    assert_eq!(report["routes"], 2);
    assert_eq!(report["goldens"]["passed"], 1);
    assert_eq!(report["errors"], 0);
}

/// A file with a rollout that has these keys.
fn with_rollout(keys: &str) -> String {
    format!(
        "schema = 1\n[[listener]]\naddress = \"127.0.0.1:0\"\n[upstream.v1]\nendpoints = [\"http://127.0.0.1:1\"]\n\
         [upstream.v2]\nrevision = \"2\"\nendpoints = [\"http://127.0.0.1:2\"]\n[[route]]\nname = \"shop\"\n\
         sticky = [\"client_ip\"]\nstable = \"v1\"\ncanary = {{ upstream = \"v2\", rollout = \"v2\" }}\n[rollout.v2]\n{keys}\n\
         [[rollout.v2.stage]]\nname = \"dark\"\nweight = 0\nmin_duration = \"1h\"\n\
         [[rollout.v2.stage]]\nname = \"full\"\nweight = 100\nmin_duration = \"1h\"\n"
    )
}

#[test]
fn check_refuses_a_rollout_that_has_expired() {
    let dir = dir(&with_rollout("expires = 2020-01-31"));
    let finished = check(&dir, "check", 78);
    assert!(finished.stderr.contains("error[rollout-expired]"), "{}", finished.stderr);
    assert_eq!(json(&check(&dir, "check --json", 78).stdout)["errors"], 1);
    // All other commands take the file.
    check(&dir, "explain", 0);
    check(&dir, "what-if routes.toml --against routes.toml", 0);
}

#[test]
fn explain_takes_a_stage_of_a_rollout() {
    let dir = dir(&with_rollout(""));
    let variant = |line: &str| json(&check(&dir, &format!("explain --json {line}"), 0).stdout)["variant"].clone();
    assert_eq!((variant(""), variant("--rollout v2=full")), ("stable".into(), "canary".into()));
    for (line, part) in [
        ("--rollout v3=full", "there is no rollout \"v3\"; there is v2"),
        ("--rollout v2=fool", "rollout \"v2\" has no stage \"fool\"; it has dark, full"),
        ("--rollout v2", "is not NAME=STAGE"),
    ] {
        let finished = check(&dir, &format!("explain {line}"), 64);
        assert!(finished.stderr.contains(part), "{line}: {}", finished.stderr);
    }
}

/// The route of the shop with a shadow.
fn shadowed(shadow: &str) -> String {
    let after = "canary = { upstream = \"shop-v2\", weight = 10 }\n";
    let shadow = format!("shadow = {{ upstream = \"shop-v3\", {shadow} }}\n");
    let routes = ROUTES.replace(after, &format!("{after}{shadow}"));
    format!("{routes}[upstream.shop-v3]\nendpoints = [\"http://127.0.0.1:3\"]\n")
}

#[test]
fn every_command_shows_the_shadow() {
    let dir = dir(&shadowed("weight = 20"));
    let finished = check(&dir, "check", 0);
    let summary = "routes.toml: 2 routes, 3 upstreams, 1 shadow, 1 test passed";
    assert!(finished.stdout.starts_with(summary), "{}", finished.stdout);
    let report = json(&check(&dir, "check --json", 0).stdout);
    assert_eq!(report["shadows"][0]["route"], "shop");
    assert_eq!(report["shadows"][0]["upstream"], "shop-v3");
    assert_eq!(report["shadows"][0]["weight"], 20.0);

    let line = "explain --host shop.example.com --cookie uid=alice";
    let printed = check(&dir, line, 0).stdout;
    assert!(printed.contains("20 % of the requests of stable are copied"), "{printed}");
    let printed = json(&check(&dir, &format!("{line} --json"), 0).stdout);
    assert_eq!((&printed["shadow"]["percent"], &printed["shadow"]["copied"]), (&20.0.into(), &Value::Null));

    fs::write(dir.path().join("new.toml"), shadowed("weight = 100, sample_by = \"key\"")).unwrap();
    let printed = json(&check(&dir, &format!("{line} --json --file new.toml"), 0).stdout);
    assert_eq!((&printed["shadow"]["upstream"], &printed["shadow"]["copied"]), (&"shop-v3".into(), &true.into()));
    assert!(printed["shadow"]["salt"] == "shop/shadow" && printed["shadow"]["bucket"].is_u64(), "{printed}");
    let printed = check(&dir, "what-if new.toml", 0).stdout;
    for words in ["shop shadow 20 → 100", "shop shadow sample_by request → key", "no caller moves"] {
        assert!(printed.contains(words), "{words} in\n{printed}");
    }
    let log = r#"{"method":"GET","host":"shop.example.com","path":"/","peer":"192.0.2.1:1","client_ip":"192.0.2.1","tenant":null,
        "route":"shop","reason":"weight","bucket":999999}"#;
    fs::write(dir.path().join("log"), format!("{}\n", log.replace('\n', ""))).unwrap();
    let printed = check(&dir, "what-if new.toml --requests log", 0).stdout;
    assert!(printed.contains("shadows copy 0.2 (20.00 %) before, 1.0 (100.00 %) after"), "{printed}");
    let printed = json(&check(&dir, "what-if new.toml --requests log --json", 0).stdout);
    assert_eq!(printed["replay"]["copied"][0]["expected"], 0.2);
}

#[test]
fn check_refuses_bad_files() {
    let dir = dir(&ROUTES.replace("stable = \"shop-v1\"", "stabel = \"shop-v1\""));
    let finished = check(&dir, "check", 78);
    assert!(finished.stdout.is_empty(), "{}", finished.stdout);
    assert!(finished.stderr.contains("stabel") && finished.stderr.contains("routes.toml:23:1"), "{}", finished.stderr);
    let report = json(&check(&dir, "check --json", 78).stdout);
    assert_eq!(report["ok"], false);
    let diagnostics = report["diagnostics"].as_array().unwrap();
    assert_eq!((diagnostics.len(), &diagnostics[0]["code"]), (1, &Value::from("unknown-key")), "{report}");
    assert_eq!(diagnostics[0]["labels"][0]["line"], 23);
    // The count is printed once.
    assert_eq!(finished.stderr.matches("1 error").count(), 1, "{}", finished.stderr);
    check(&dir, "check missing.toml", 78);
    let missing = json(&check(&dir, "check missing.toml --json", 78).stdout);
    let label = &missing["diagnostics"][0]["labels"][0];
    assert!(label["line"].is_null() && label["column"].is_null(), "{missing}");
    check(&dir, "check .", 78);
}

#[test]
fn a_kill_does_not_break_the_tests_of_the_file() {
    let killed = format!("{ROUTES}[kill]\nall = true\ntenants = [\"acme\"]\n");
    let finished = check(&dir(&killed), "check", 0);
    assert!(finished.stdout.contains("1 test passed"), "{}", finished.stdout);
    let about_it =
        format!("{killed}[[test]]\nrequest = {{ host = \"shop.example.com\" }}\nexpect = {{ reason = \"kill\" }}\n");
    let finished = check(&dir(&about_it), "check", 0);
    assert!(finished.stdout.contains("2 tests passed"), "{}", finished.stdout);
}

#[test]
fn check_runs_the_tests_of_the_file() {
    let dir = dir(&ROUTES.replace("variant = \"canary\"", "variant = \"stable\""));
    let finished = check(&dir, "check", 78);
    assert!(finished.stderr.contains("1 of 1 test failed"), "{}", finished.stderr);
    assert_eq!(json(&check(&dir, "check --json", 78).stdout)["goldens"]["failed"], 1);
}

#[test]
fn a_test_with_two_wrong_expectations_counts_as_one_failure() {
    let wrong = "[[test]]\nrequest = { host = \"shop.example.com\" }\n\
                 expect = { variant = \"canary\", upstream = \"shop-v2\", reason = \"target\" }\n";
    let dir = dir(&format!("{ROUTES}{wrong}"));
    let finished = check(&dir, "check", 78);
    assert!(finished.stderr.contains("1 of 2 tests failed"), "{}", finished.stderr);
    let report = json(&check(&dir, "check --json", 78).stdout);
    assert_eq!(report["goldens"], serde_json::json!({ "passed": 1, "failed": 1 }), "{report}");
    assert_eq!(report["errors"], 3, "one for each wrong expectation");
}

#[test]
fn a_route_without_variants_has_nothing_to_compare() {
    let alone = "[[route]]\nname = \"alone\"\nmatch = { path = \"/alone\" }\nstable = \"shop-v1\"\n";
    let finished = check(&dir(&format!("{ROUTES}{alone}")), "explain --host a --path /alone", 0);
    assert!(
        finished.stdout.contains("by stable; no statistics: the route has no other variant"),
        "{}",
        finished.stdout
    );
}

#[test]
fn colour_is_for_terminals() {
    let dir = dir("schema = 2");
    assert!(!check(&dir, "check", 78).stderr.contains('\x1b'));
    assert!(!check(&dir, "--color never check", 78).stderr.contains('\x1b'));
    assert!(check(&dir, "check --color always", 78).stderr.contains('\x1b'));
    assert!(check(&dir, "--color=always check --jason", 64).stderr.contains('\x1b'));
}

#[test]
fn explain_from_the_file() {
    let dir = dir(ROUTES);
    let text = check(&dir, "explain --host shop.example.com --path /x --header x-tenant:acme", 0).stdout;
    for part in ["shop", "routes.toml:20", "canary", "target", "beta"] {
        assert!(text.contains(part), "`{part}` is missing in\n{text}");
    }
    let explained =
        |line: &str| json(&check(&dir, &format!("explain --json --host shop.example.com {line}"), 0).stdout);
    assert_eq!(explained("--header x-tenant:acme")["variant"], "canary");
    assert_eq!(explained("--header x-tenant:acme")["reason"], "target");
    // From a peer that is not trusted the header is ignored.
    assert_eq!(explained("--header x-tenant:acme --peer 203.0.113.9")["variant"], "stable");
    let asked = check(&dir, "explain --host shop.example.com --path /u/42?z=1", 0).stdout;
    assert!(asked.starts_with("GET shop.example.com/u/42?z=1\n"), "{asked}");
    assert!(asked.contains("gets /u/42?z=1\n"), "{asked}");
    let weighed = explained("--cookie uid=alice");
    assert_eq!(weighed["reason"], "weight");
    assert!(weighed["bucket"].is_u64(), "{weighed}");
    let unmatched = json(&check(&dir, "explain --json --host other.example.com --path /none", 0).stdout);
    assert!(unmatched["route"].is_null(), "{unmatched}");
    check(&dir, "explain --file missing.toml --host a", 78);
    check(&dir, "explain missing.toml --host a", 78);
    let line = "--host shop.example.com --path /x --header x-tenant:acme";
    let text = check(&dir, &format!("explain routes.toml {line}"), 0).stdout;
    assert_eq!(text, check(&dir, &format!("explain --file routes.toml {line}"), 0).stdout);
}

#[test]
fn explain_needs_a_host_where_routes_differ_by_it() {
    let needed = check(&dir(ROUTES), "explain --path /", 64);
    assert!(needed.stderr.contains("`shop` is for shop.example.com; add --host"), "{}", needed.stderr);
    let any = dir(&ROUTES.replace("host = \"shop.example.com\", ", ""));
    let text = check(&any, "explain --path /x", 0).stdout;
    assert!(text.starts_with("GET localhost/x\n") && text.contains("route       shop"), "{text}");
}

#[test]
fn explain_lists_dropped_failed_and_near_matches() {
    let staff = ROUTES
        .replace("trusted_proxies = [\"127.0.0.0/8\"]\n", "")
        .replace("tenant = [\"acme\"]\n", "tenant = [\"acme\"]\nheader = { x-employee = \"1\" }\n")
        .replace("[[test]]", "[[route]]\nname = \"none\"\nmatch = { host = \"none.test\", path = \"/none\" }\nstable = \"shop-v1\"\n[[test]]");
    let dir = dir(&staff);
    let text = check(&dir, "explain --host shop.example.com --header x-tenant:acme", 0).stdout;
    let dropped = "`x-tenant` is dropped: its sender 127.0.0.1 is not in identity.trusted_proxies";
    assert!(text.contains(&format!("dropped     {dropped}\n")), "{text}");
    let step = format!(
        "segment beta: tenant in a list of 1 (there is no tenant: {dropped}), header x-employee = \"1\" (not given)\n"
    );
    assert!(text.contains(&step), "{text}");
    let text = check(&dir, "explain --host none.test --path /nono", 0).stdout;
    assert!(text.contains("404: no route matches\n"), "{text}");
    assert!(text.contains("  host none.test matches, path /none does not\n"), "{text}");
}

#[test]
fn explain_reports_an_upgrade_that_is_not_forwarded() {
    let line = "explain --host shop.example.com --header upgrade:websocket --header connection:upgrade";
    let printed = check(&dir(ROUTES), line, 0).stdout;
    assert!(printed.contains("`Upgrade: websocket` is not passed on"), "{printed}");
    let allowed = ROUTES.replace("sticky = [\"user\"]", "sticky = [\"user\"]\nlimits = { upgrade = [\"websocket\"] }");
    let printed = json(&check(&dir(&allowed), &format!("{line} --json"), 0).stdout);
    assert_eq!(printed["denied"], serde_json::json!([]));
}

#[test]
fn explain_takes_a_listener() {
    let bound = ROUTES
        .replace("[admin]", "[[listener]]\nname = \"inside\"\naddress = \"127.0.0.2:0\"\n[admin]")
        .replace("match = { path = \"/health\" }", "match = { path = \"/health\", listener = \"inside\" }");
    let dir = dir(&bound);
    let printed = check(&dir, "explain --host a --path /health --listener inside", 0).stdout;
    assert!(printed.contains("any host, path /health, listener inside"), "{printed}");
    let printed = check(&dir, "explain --host a --path /health", 0).stdout;
    assert!(printed.contains("404") && printed.contains("does not match: listener inside"), "{printed}");
    assert!(check(&dir, "explain --host a --listener insider", 1).stderr.contains("the listeners are http, inside"));
    let line = |listener| {
        format!(
            "{{\"method\":\"GET\",\"host\":\"a\",\"path\":\"/health\",\"peer\":\"192.0.2.1:1\",\"client_ip\":\"192.0.2.1\",{listener}}}\n"
        )
    };
    let log = [line("\"listener\":\"inside\",\"route\":\"health\""), line("\"listener\":\"http\"")];
    fs::write(dir.path().join("log"), log.concat()).unwrap();
    fs::write(dir.path().join("new.toml"), ROUTES).unwrap();
    let printed = check(&dir, "what-if new.toml --requests log", 0).stdout;
    assert!(printed.contains("2 requests: 1 (50.00 %) get another answer"), "{printed}");
    assert!(printed.contains("from no route to health"), "{printed}");
    assert!(printed.contains("health match changed") && printed.contains("listener inside removed"), "{printed}");
}

#[test]
fn a_replay_says_that_it_leaves_out_rate_limits() {
    let limited =
        format!("{ROUTES}\n[[route]]\nname = \"few\"\nmatch = {{ path = \"/few\" }}\nrespond = {{ status = 200 }}\n");
    let dir = dir(&format!("{limited}[[route.rate_limit]]\nper = \"route\"\nrate = 1\n"));
    let line =
        r#"{"method":"GET","host":"a","path":"/few","peer":"192.0.2.1:1","client_ip":"192.0.2.1","route":"few"}"#;
    fs::write(dir.path().join("log"), format!("{line}\n")).unwrap();
    for (new, is_said) in
        [(limited.clone(), true), (fs::read_to_string(dir.path().join("routes.toml")).unwrap(), false)]
    {
        fs::write(dir.path().join("new.toml"), new).unwrap();
        let printed = check(&dir, "what-if new.toml --requests log", 0).stdout;
        assert_eq!(printed.contains("rate limits are not replayed"), is_said, "{printed}");
    }
}

#[test]
fn explain_shows_no_variant_where_nothing_is_sticky() {
    let dir = dir(&ROUTES.replace("sticky = [\"user\"]", "sticky = []"));
    let text = check(&dir, "explain --host shop.example.com", 0).stdout;
    assert!(text.contains("variant     decided per request: 10 % canary, 90 % stable  by weight"), "{text}");
    assert!(!text.contains("bucket") && !text.contains('▲'), "{text}");
    let printed = json(&check(&dir, "explain --host shop.example.com --json", 0).stdout);
    assert!(printed["bucket"].is_null(), "{printed}");
    assert_eq!(printed["anew"][0], serde_json::json!({ "variant": "canary", "percent": 10.0 }));
}

#[test]
fn what_if_reports_who_moves() {
    let dir = dir(ROUTES);
    let new = ROUTES.replace("weight = 10", "weight = 35").replace("/health", "/healthz");
    fs::write(dir.path().join("new.toml"), new).unwrap();
    let text = check(&dir, "what-if new.toml", 0).stdout;
    assert!(text.contains("shop") && text.contains("25"), "{text}");
    let printed = json(&check(&dir, "what-if new.toml --against routes.toml --json", 0).stdout);
    assert!(printed.to_string().contains("health"), "{printed}");
    let same = check(&dir, "what-if routes.toml", 0).stdout;
    assert!(same.contains("nothing changes"), "{same}");
    check(&dir, "what-if missing.toml", 78);
    fs::write(dir.path().join("bad.toml"), "schema = 1\nrout = 1\n").unwrap();
    check(&dir, "what-if bad.toml", 78);
    check(&dir, "what-if new.toml --against bad.toml", 78);
}

#[test]
fn what_if_replays_grpc_calls_of_a_log() {
    let calls = format!(
        "{ROUTES}[[route]]\nname = \"calls\"\nmatch = {{ grpc = {{ service = \"s.V1\" }} }}\nstable = \"shop-v1\"\n"
    );
    let dir = dir(&calls);
    fs::write(dir.path().join("new.toml"), ROUTES).unwrap();
    let line = |more: &str| {
        format!(
            "{{\"method\":\"POST\",\"host\":\"api\",\"path\":\"/s.V1/Get\",\"peer\":\"192.0.2.1:1\",\"client_ip\":\"192.0.2.1\"{more}}}\n"
        )
    };
    let log = [
        line(r#","route":"calls","reason":"stable","grpc_status":0"#),
        // Ended before its status was seen.
        line(r#","route":"calls","reason":"stable""#),
        line(r#","route":"shop","reason":"weight","bucket":1"#),
        line(""),
    ];
    fs::write(dir.path().join("log"), log.concat()).unwrap();
    let printed = check(&dir, "what-if new.toml --requests log", 0).stdout;
    assert!(printed.contains("replayed  4 requests: 2 (50.00 %) get another answer"), "{printed}");
    assert!(printed.contains("2 (50.00 %) from calls stable to no route"), "{printed}");
    assert!(printed.contains("1 (25.00 %) cannot be decided: with the old file they match another route"), "{printed}");
    let printed = json(&check(&dir, "what-if new.toml --requests log --json", 0).stdout);
    assert_eq!((&printed["replay"]["untold"], &printed["replay"]["misled"]), (&Value::from(1), &Value::from(1)));
}

#[test]
fn schema_is_json_schema() {
    let dir = dir(ROUTES);
    let schema = json(&check(&dir, "schema", 0).stdout);
    assert!(schema["$schema"].as_str().unwrap().contains("json-schema.org"), "{schema}");
    assert!(schema["properties"]["route"].is_object());
}

#[test]
fn completions_for_every_shell() {
    let dir = dir(ROUTES);
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = check(&dir, &format!("completions {shell}"), 0).stdout;
        for words in ["what-if", "status", "health", "reload", "init", "canary"] {
            assert!(script.contains(words), "{shell}: {words}");
        }
    }
}

#[test]
fn run_serves_explains_and_drains() {
    let dir = dir(ROUTES);
    let mut proxy = Running::start(dir.path(), &["run", "--workers", "1"]);
    let admin = proxy.word_after("admin");
    assert_eq!(ask(&admin, "GET /readyz HTTP/1.1").0, 200);
    let line = format!("explain --admin {admin} --host shop.example.com --header x-tenant:acme");
    let text = check(&dir, &line, 0).stdout;
    assert!(text.contains("shop") && text.contains("canary") && text.contains("target"), "{text}");
    assert_eq!(json(&check(&dir, &format!("{line} --json"), 0).stdout)["variant"], "canary");
    // Systems before 5.0 do not report it.
    assert!(proxy.fact("THP_enabled").is_none_or(|enabled| enabled == "0"), "the heap is not of huge pages");
    proxy.signal("TERM");
    assert_eq!(proxy.end().0, 0);
    // The process has ended.
    assert!(check(&dir, &line, 1).stderr.contains(&admin));
}

#[test]
fn run_refuses_bad_files_and_taken_ports() {
    let dir = dir(&ROUTES.replacen("schema = 1", "schema = 1\nrout = 1", 1));
    let finished = check(&dir, "run", 78);
    assert!(finished.stderr.contains("rout"), "{}", finished.stderr);
    check(&dir, "run missing.toml", 78);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    fs::write(dir.path().join("routes.toml"), ROUTES.replacen("127.0.0.1:0", &address, 1)).unwrap();
    let finished = check(&dir, "run", 1);
    assert!(finished.stderr.contains(&address), "{}", finished.stderr);
    let unwritable = ROUTES.replacen("sink = \"off\"", "sink = \"nowhere/access.log\"", 1);
    assert_ne!(unwritable, ROUTES);
    fs::write(dir.path().join("routes.toml"), unwritable).unwrap();
    let finished = check(&dir, "run", 1);
    assert!(finished.stderr.contains("the access log `nowhere/access.log` cannot be opened"), "{}", finished.stderr);
}

/// Whether the headline is about the prices, of which a third differ, and not about the noise in every response.
fn found_headline(report: &str) -> bool {
    let share = report.lines().find_map(|line| line.trim().strip_prefix("mismatch  ")?.split(" % ").next());
    share.and_then(|share| share.parse::<f64>().ok()).is_some_and(|share| (20.0..50.0).contains(&share))
}

#[test]
fn the_demo_runs_follows_an_edit_and_stops() {
    let dir = tempfile::tempdir().unwrap();
    let stage = dir.path().join("stage");
    let words = ["demo", "--port", "0", "--admin-port", "0", "--no-traffic", "--dir", stage.to_str().unwrap()];
    let mut demo = Running::start(dir.path(), &words);
    let proxy = demo.word_after("proxy");
    let demo_admin = demo.word_after("admin");
    let file = demo.word_after("routes");
    let fault = demo.word_after("curl -s -X POST").replace("/errors", "");
    assert!(!fault.ends_with(":9901"), "with --port 0 the system chooses every port: {fault}");
    let get = |head: &str| ask(&proxy, &format!("GET / HTTP/1.1\n{head}"));
    assert!(get("x-canary: always").1.starts_with("canary"));
    assert!(get("cookie: preview=v2").1.starts_with("canary"));
    assert!(get("x-tenant: acme").1.contains("tenant acme"));
    assert_eq!(get("cookie: uid=alice").1, get("cookie: uid=alice").1);
    assert_eq!(ask(&fault, "POST /errors HTTP/1.1\ncontent-length: 0").0, 200);
    assert_eq!(get("x-canary: always").0, 500);
    assert_eq!(ask(&fault, "POST /off HTTP/1.1\ncontent-length: 0").0, 200);
    // The tests of its own file pass, and it has no warnings.
    let checked = finish(dir.path(), &["check", &file]);
    assert!(checked.code == 0 && checked.stderr.is_empty(), "{}", checked.stderr);
    // The dark launch: callers get the old responses, and the report separates the real difference from the noise.
    let admin = demo_admin.replace("http://", "");
    let began = Clock.now();
    let report = loop {
        for item in 0..60 {
            let (status, body) = ask(&proxy, &format!("GET /api/items/{item} HTTP/1.1"));
            assert!(status == 200 && body.contains(&format!("\"price_cents\":{}", 100 + item % 50 * 20)), "{body}");
        }
        let report = finish(dir.path(), &["compare", "--admin", &admin, "--route", "api"]).stdout;
        let found = |words: &[&str]| report.lines().any(|line| words.iter().all(|word| line.contains(word)));
        if found(&["$.price_cents", "copies"]) && found(&["confirmed: "]) && found(&["noisy: "]) {
            break report;
        }
        assert!(Clock.now().duration_since(began) < PATIENCE, "{report}");
    };
    assert!(found_headline(&report), "{report}");
    let (confirmed, noisy) = report.split_once("noisy:").unwrap();
    assert!(confirmed.contains("$.price_cents") && !confirmed.contains("$.request"), "{report}");
    assert!(noisy.contains("$.request") && !noisy.contains("$.price_cents"), "{report}");
    // The brake of the tour, from the folder of the demo.
    let act = |verb: &str| finish(&stage, &[verb, "--variant", "shop:canary", "--reason", "it fails"]);
    let killed = act("kill");
    assert_eq!(killed.code, 0, "{}", killed.stderr);
    assert!(get("x-canary: always").1.starts_with("stable"));
    let revived = act("revive");
    assert_eq!(revived.code, 0, "{}", revived.stderr);
    assert!(get("x-canary: always").1.starts_with("canary"));
    let journal = finish(&stage, &["journal"]).stdout;
    assert!(journal.contains("kill variant shop:canary: it fails"), "{journal}");
    // All weight on the canary: in time every caller gets it.
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("weight   = 10", "weight   = 100")).unwrap();
    let began = Clock.now();
    while !(0..20).all(|caller| get(&format!("cookie: uid={caller}")).1.starts_with("canary")) {
        assert!(Clock.now().duration_since(began) < PATIENCE, "the edit does not take effect");
    }
    demo.signal("INT");
    let (code, rest) = demo.end();
    assert_eq!(code, 0, "{rest}");
    assert!(rest.contains("stopped"), "{rest}");
    // The same directory again: its file is used unchanged, at the same addresses.
    let left = fs::read_to_string(&file).unwrap();
    let mut again = Running::start(dir.path(), &words);
    assert_eq!(again.word_after("proxy"), proxy);
    again.word_after("routes");
    assert!(ask(&proxy, "GET / HTTP/1.1\ncookie: uid=1").1.starts_with("canary"));
    again.signal("INT");
    let (code, rest) = again.end();
    assert!(code == 0 && fs::read_to_string(&file).unwrap() == left, "{rest}");
    // No other file is touched.
    fs::write(&file, ROUTES.replace("shop-v1", "mine")).unwrap();
    let refused = finish(dir.path(), &words);
    assert_eq!(refused.code, 1);
    assert!(refused.stderr.contains("--dir"), "{}", refused.stderr);
}

#[test]
fn the_demo_serves_https_with_a_certificate_in_memory() {
    let dir = tempfile::tempdir().unwrap();
    let stage = dir.path().join("stage");
    let words = ["demo", "--tls", "--port", "0", "--admin-port", "0", "--no-traffic", "--dir", stage.to_str().unwrap()];
    for _ in ["written", "taken as it is"] {
        let mut demo = Running::start(dir.path(), &words);
        let file = demo.word_after("routes");
        let https = demo.word_after("https").replace("https://", "http://");
        assert!(!fs::read_to_string(&file).unwrap().contains("BEGIN"), "the key is in the file");
        let (status, body) = ask(&https, "GET / HTTP/1.1\nhost: localhost");
        assert!(status == 400 && body.contains("TLS"), "{status} {body}");
        demo.signal("INT");
        let (code, rest) = demo.end();
        assert_eq!(code, 0, "{rest}");
    }
}

#[test]
fn what_if_moves_all_callers_of_a_route_without_variants() {
    let routes = format!("{ROUTES}[[route]]\nname = \"lone\"\nmatch = {{ path = \"/lone\" }}\nstable = \"shop-v1\"\n");
    let dir = dir(&routes);
    let at = routes.rfind("shop-v1").unwrap();
    fs::write(dir.path().join("new.toml"), format!("{}shop-v2\"\n", &routes[..at])).unwrap();
    let text = check(&dir, "what-if new.toml", 0).stdout;
    assert!(text.contains("all its callers move from shop-v1 to shop-v2"), "{text}");
    let salted = ROUTES.replace("sticky = [\"user\"]", "sticky = [\"user\"]\nsalt = \"two\"");
    fs::write(dir.path().join("routes.toml"), ROUTES).unwrap();
    fs::write(dir.path().join("new.toml"), salted).unwrap();
    let text = check(&dir, "what-if new.toml", 0).stdout;
    assert!(text.contains("18 % of its callers move: 9 % from canary to stable, 9 % from stable to canary"), "{text}");
    fs::write(dir.path().join("new.toml"), format!("{ROUTES}[kill]\nall = true\n")).unwrap();
    let text = check(&dir, "what-if new.toml", 0).stdout;
    assert!(text.contains("10 % of its callers move: 10 % from canary to stable"), "{text}");
}

#[test]
fn what_if_replays_a_log() {
    let dir = dir(ROUTES);
    fs::write(dir.path().join("new.toml"), ROUTES.replace("weight = 10", "weight = 35")).unwrap();
    let line = |bucket: u32, variant: &str| {
        format!(
            r#"{{"time":"2026-01-01T00:00:00.000Z","client_ip":"192.0.2.1","peer":"192.0.2.1:4711","method":"GET","host":"shop.example.com","path":"/x","status":200,"route":"shop","variant":"{variant}","reason":"weight","bucket":{bucket},"generation":1}}"#
        )
    };
    let picked = r#"{"client_ip":"127.0.0.1","peer":"127.0.0.1:4711","method":"GET","host":"shop.example.com","path":"/x","route":"shop","variant":"canary","reason":"target","tenant":"acme"}"#;
    let log =
        [line(50_000, "canary"), line(200_000, "stable"), line(900_000, "stable"), picked.into(), "rubbish".into()];
    fs::write(dir.path().join("access.log"), log.join("\n")).unwrap();
    let printed = json(&check(&dir, "what-if new.toml --requests access.log --json", 0).stdout);
    let replay = &printed["replay"];
    assert_eq!((replay["requests"].as_u64(), replay["moved"].as_u64()), (Some(4), Some(1)), "{printed}");
    assert_eq!((replay["untold"].as_u64(), replay["foreign_lines"].as_u64()), (Some(0), Some(1)), "{printed}");
    assert_eq!(replay["moves"][0]["to"], "shop canary");
    assert!(check(&dir, "what-if new.toml --requests access.log", 0).stdout.contains("1 (25.00 %)"));
    check(&dir, "what-if new.toml --requests missing.log", 1);
    // A log without a usable line is a failure, not a promise that no caller moves.
    for (log, why) in [("rubbish\n{}\n", "2 lines, and none is from an access log"), ("", "is empty")] {
        fs::write(dir.path().join("access.log"), log).unwrap();
        let failed = check(&dir, "what-if new.toml --requests access.log --json", 1);
        assert!(failed.stderr.contains(why) && failed.stdout.is_empty(), "{}", failed.stderr);
    }
}

#[test]
fn the_readme_matches_the_binary() {
    let dir = dir(ROUTES);
    fs::create_dir(dir.path().join("tenants")).unwrap();
    fs::write(dir.path().join("tenants/contractual.txt"), "acme\n").unwrap();
    let readme = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    let blocks: Vec<&str> = readme.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(!blocks.is_empty());
    for block in blocks {
        fs::write(dir.path().join("routes.toml"), block).unwrap();
        let finished = check(&dir, "check", 0);
        assert!(finished.stderr.is_empty(), "{}", finished.stderr);
    }
}
