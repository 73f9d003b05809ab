//! Suggestions in diagnostics are valid: a file with the suggestion applied loads.

use super::load_text;

/// A file without listeners and routes; `@` marks the place of the wrong part.
const EMPTY: &str = "schema = 1\n@\n";
const TOP: &str = "schema = 1\n@\n[[listener]]\naddress = '127.0.0.1:0'\n";
const LISTENER: &str = "schema = 1\n[[listener]]\naddress = '127.0.0.1:0'\n@\n";
const ADMIN: &str = "schema = 1\n[admin]\naddress = @\n[[listener]]\naddress = '127.0.0.1:0'\n";
const ADDRESS: &str = "schema = 1\n[[listener]]\naddress = @\n";
const UPSTREAM: &str = "schema = 1\n[[listener]]\naddress = '127.0.0.1:0'\n[upstream]\n@\n";
const NAMED: &str = "schema = 1\n[[listener]]\naddress = '127.0.0.1:0'\n@\nendpoints = 'http://10.0.0.1'\n";
const ENDPOINTS: &str = "schema = 1\n[[listener]]\naddress = '127.0.0.1:0'\n[upstream.v1]\nendpoints = @\n";
const ANSWER: &str = "schema = 1\n[[listener]]\naddress = '127.0.0.1:0'\n[[route]]\nname = 'r'\n@\n";
const MATCH: &str =
    "schema = 1\n[[listener]]\nname = 'NAME'\naddress = '127.0.0.1:0'\n[[route]]\nname = 'r'\n@\nrespond = {}\n";

/// A file with a route that forwards; `part` is in the route.
fn route(part: &str) -> String {
    let upstreams = "[upstream.v1]\nendpoints = 'http://10.0.0.1'\n[upstream.v2]\nendpoints = 'http://10.0.0.2'\n";
    let route = "[[route]]\nname = 'r'\nsticky = 'client_ip'\nmatch = { path = '/x/*' }\nstable = 'v1'\n";
    format!("schema = 1\n[[listener]]\naddress = '127.0.0.1:0'\n{upstreams}{route}{part}\n")
}

/// The suggestions in the help of the first error: all texts in backticks.
fn suggested(file: &str) -> Vec<String> {
    let errors = load_text("routes.toml", file, &|_| None).expect_err(file);
    let help = errors.iter().next().and_then(|error| error.help.clone()).unwrap_or_default();
    let line = help.lines().next().unwrap_or_default();
    let is_proposal = line.contains("write `");
    line.split('`').skip(1).step_by(2).filter(|_| is_proposal).map(str::to_owned).collect()
}

/// Checks that the help for `wrong` suggests these lines, and that the file with them instead loads.
fn check(frame: &str, wrong: &str, fixed: &[&str]) {
    let found = suggested(&frame.replace('@', wrong));
    assert!(found.len() >= fixed.len() && found[..fixed.len()] == *fixed, "{wrong}: {found:?}");
    let right = frame.replace('@', &fixed.join("\n").replace('…', "v2"));
    assert!(load_text("routes.toml", &right, &|_| None).is_ok(), "{right}");
}

/// Checks that the help for `wrong` suggests nothing, since nothing would load.
fn check_without(frame: &str, wrong: &str) {
    assert_eq!(suggested(&frame.replace('@', wrong)), Vec::<String>::new(), "{wrong}");
}

#[test]
fn suggested_addresses_load() {
    let quoted = ADMIN.replace('@', "'@'");
    for wrong in ["0.0.0.0", "8.8.8.8", "::"] {
        check(&quoted, wrong, &["127.0.0.1:9900"]);
    }
    check(&quoted, "http://0.0.0.0:9901", &["127.0.0.1:9901"]);
    check(&quoted, "http://127.0.0.1:9901/", &["127.0.0.1:9901"]);
    check(&quoted, "8.8.8.8:9901", &["127.0.0.1:9901"]);
    check(&quoted, "off", &["127.0.0.1:9900"]);
    check(ADMIN, "9911", &["\"127.0.0.1:9911\""]);
    check(ADDRESS, "8080", &["\"127.0.0.1:8080\""]);
    check(ADDRESS, "80800", &["\"127.0.0.1:8080\""]);
    check(&ADDRESS.replace('@', "'@'"), "80800", &["0.0.0.0:8080"]);
    check(ADDRESS, "[':8080']", &["\":8080\""]);
    check(ENDPOINTS, "8080", &["\"http://127.0.0.1:8080\""]);
    check(ENDPOINTS, "[8101]", &["\"http://127.0.0.1:8101\""]);
    for wrong in ["8101", ":8101", "http://8101"] {
        check(&ENDPOINTS.replace('@', "['@']"), wrong, &["http://127.0.0.1:8101"]);
    }
    check(ENDPOINTS, "'http://a:1, http://b:2'", &["[\"http://a:1\", \"http://b:2\"]"]);
    check(&ENDPOINTS.replace('@', "[@]"), "'http://a:1 http://b:2'", &["\"http://a:1\", \"http://b:2\""]);
    assert_eq!(suggested(&ENDPOINTS.replace('@', "80800")), ["\"http://host:port\""]);
    check(&ENDPOINTS.replace('@', "[{ url = @ }]"), "8080", &["\"http://127.0.0.1:8080\""]);
}

#[test]
fn suggested_tables_load() {
    check(EMPTY, "listener = [':8080']", &["[[listener]]", "address = \":8080\""]);
    check(EMPTY, "listener = ':8080'", &["[[listener]]", "address = \":8080\""]);
    check(&route("@"), "variant = ['v2']", &["[[route.variant]]", "name = \"v2\"", "upstream = \"v2\""]);
    check(
        &route("canary = { upstream = 'v2' }\n@"),
        "target = ['canary']",
        &["[[route.target]]", "serve = \"canary\"", "header = { x-beta = \"1\" }"],
    );
    for (wrong, fixed) in [
        ("canary = 'v2'", "canary = { upstream = \"v2\" }"),
        ("canary = ['v2']", "canary = { upstream = \"v2\" }"),
        ("canary = 5", "canary = { upstream = \"…\", weight = 5 }"),
        ("shadow = 'v2'", "shadow = { upstream = \"v2\", weight = 5 }"),
        ("shadow = 5.5", "shadow = { upstream = \"…\", weight = 5.5 }"),
        ("limits = 'websocket'", "limits = { upgrade = [\"websocket\"] }"),
        ("limits = '10MiB'", "limits = { body = \"10MiB\" }"),
        ("limits = '10MB'", "limits = { body = \"10MiB\" }"),
        ("rewrite = '/'", "rewrite = { prefix = \"/\" }"),
        ("timeout = '5s'", "timeout = { request = \"5s\" }"),
    ] {
        check(&route("@"), wrong, &[fixed]);
    }
    for (wrong, fixed) in [
        ("redirect = ['https://b.example/']", "redirect = { to = \"https://b.example/\" }"),
        ("respond = 404", "respond = { status = 404 }"),
        ("respond = '404'", "respond = { status = 404 }"),
        ("respond = 'a\\b \"c\"'", "respond = { body = \"a\\\\b \\\"c\\\"\" }"),
    ] {
        check(ANSWER, wrong, &[fixed]);
    }
    for (wrong, fixed) in [
        ("match = '/x/*'", "match = { path = \"/x/*\" }"),
        ("match = '*'", "match = { path = \"/*\" }"),
        ("match = '*.a.example'", "match = { host = \"*.a.example\" }"),
        ("match = 'a.example/x'", "match = { host = \"a.example\", path = \"/x\" }"),
        ("match = 'PathPrefix(`/x`)'", "match = { path = \"/x/*\" }"),
        ("match = 'PathPrefix(`/`)'", "match = { path = \"/*\" }"),
        ("match = 'Host(`a.example`) && Path(`/x`)'", "match = { host = \"a.example\", path = \"/x\" }"),
        ("match = ['/x', '/y/*']", "match = { path = [\"/x\", \"/y/*\"] }"),
    ] {
        check(MATCH, wrong, &[fixed]);
    }
    check(TOP, "access_log = 'off'", &["access_log = { sink = \"off\" }"]);
    check(TOP, "kill = true", &["kill = { all = true }"]);
    check(UPSTREAM, "a = 'http://10.0.0.1'", &["a = { endpoints = \"http://10.0.0.1\" }"]);
    check(UPSTREAM, "a = '10.0.0.1:80'", &["a = { endpoints = \"http://10.0.0.1:80\" }"]);
    check(
        UPSTREAM,
        "a = ['http://10.0.0.1', 'http://10.0.0.2']",
        &["a = { endpoints = [\"http://10.0.0.1\", \"http://10.0.0.2\"] }"],
    );
    check(NAMED, "[[upstream]]\nname = 'app'", &["[upstream.app]"]);
}

#[test]
fn suggested_values_load() {
    let weight = route("canary = { upstream = 'v2', weight = @ }");
    for (wrong, fixed) in [("'5'", "5"), ("'05'", "5"), ("'5 %'", "5"), ("['5']", "5"), ("[0.5]", "0.5")] {
        check(&weight, wrong, &[fixed]);
    }
    let connections = LISTENER.replace('@', "limits = { connections = @ }");
    check(&connections, "'020'", &["20"]);
    check(&LISTENER.replace('@', "[access_log]\nsample = @"), "'0.5'", &["0.5"]);
    check(&route("salt = @"), "['a\"b\\c']", &["\"a\\\"b\\\\c\""]);
    check(&route("salt = @"), "7", &["\"7\""]);
    check(&MATCH.replace('@', "").replace("'r'", "@"), "7", &["\"7\""]);
}

#[test]
fn suggested_keys_load() {
    for word in ["scheme = 'https'", "protocol = 'https'", "port = 443"] {
        check(&MATCH.replace('@', "match = { @ }"), word, &["listener = \"NAME\""]);
    }
    check(&route("[route.limits]\n@"), "websocket = true", &["upgrade = [\"websocket\"]"]);
    check(&ANSWER.replace('@', "redirect = { to = '/', @ }"), "permanent = true", &["status = 308"]);
    check(LISTENER, "timeout = '5s'", &["limits = { idle_timeout = \"60s\" }"]);
    check(&ENDPOINTS.replace('@', "'http://10.0.0.1'\n@"), "maxconn = 5", &["limits = { connections = 1024 }"]);
}

#[test]
fn suggestions_for_retries_and_ejection_load() {
    for (wrong, fixed) in [
        ("retry = false", "retry = { attempts = 0 }"),
        ("retry = 3", "retry = { attempts = 3 }"),
        ("retries = 3", "retry = { attempts = 1 }"),
        ("proxy_next_upstream = 'error'", "retry = { attempts = 1 }"), // nginx
        ("per_try_timeout = '1s'", "timeout = { per_try = \"2s\" }"),  // Envoy
    ] {
        check(&route("@"), wrong, &[fixed]);
    }
    for (wrong, fixed) in [
        ("connect-failure", "connect"),          // Envoy
        ("empty-response", "reset_before_head"), // HAProxy
        ("gateway-error", "502"),
        ("http_503", "503"), // nginx
        ("response-timeout", "timeout"),
    ] {
        check(&route("retry = { on = ['@'] }"), wrong, &[fixed]);
        check(&route("canary = { upstream = 'v2', rescue = { on = '@' } }"), wrong, &[fixed]);
    }
    let upstream = ENDPOINTS.replace('@', "['http://10.0.0.1', 'http://10.0.0.2']\n@");
    for (wrong, fixed) in [
        ("outlier = false", "outlier = { consecutive_failures = 0 }"),
        ("max_fails = 3", "outlier = { consecutive_failures = 5, base_ejection = \"30s\" }"), // nginx
        ("max_pending_requests = 9", "limits = { pending = 128 }"),                           // Envoy
    ] {
        check(&upstream, wrong, &[fixed]);
    }
    check(&upstream.replace('@', "outlier = { @ }"), "max_ejected_percent = 0", &["consecutive_failures = 0"]);
    check(&upstream.replace('@', "retry_budget = { @ }"), "budget = 20", &["ratio = 0.2"]);
    check(&upstream.replace('@', "retry_budget = { ratio = @ }"), "20", &["0.2"]);
}

#[test]
fn suggestions_for_text_that_is_not_toml_load() {
    for wrong in ["127.0.0.1:0", "localhost:0"] {
        check(ADDRESS, wrong, &[format!("\"{wrong}\"").as_str()]);
    }
    for wrong in ["127.0.0.1:8101", "http://127.0.0.1:8101", "[127.0.0.1:8101]", "[http://127.0.0.1:8101]"] {
        let fixed = ["\"http://127.0.0.1:8101\""];
        let (frame, wrong) = match wrong.strip_prefix('[').and_then(|wrong| wrong.strip_suffix(']')) {
            Some(inside) => (ENDPOINTS.replace('@', "[@]"), inside),
            None => (ENDPOINTS.to_owned(), wrong),
        };
        check(&frame, wrong, &fixed);
    }
    check(&route("canary = { upstream = 'v2', weight = @ }"), "5%", &["5"]);
    check(&route("canary = { upstream = @ }"), "“v2”", &["\"v2\""]);
    check(&TOP.replace('@', "[kill]\nall = @"), "yes", &["true"]);
    check(&TOP.replace('@', "[kill]\nall = @"), "False", &["false"]);
    check(&route("canary = { upstream = 'v2', rescue = @ }"), "no", &["false"]);
    check(&route("canary = { upstream = 'v2', rescue = @ }"), "null", &["false"]);
}

#[test]
fn a_prefix_is_a_path_and_all_below_it() {
    for (wrong, fixed) in [
        ("prefix = '/'", "path = \"/*\""),
        ("path_prefix = '/x/'", "path = \"/x/*\""),
        ("prefix = '/x'", "path = \"/x/*\""),
    ] {
        check(&MATCH.replace('@', "match = { @ }"), wrong, &[fixed]);
    }
}

#[test]
fn the_first_error_names_the_cause() {
    let check = |file: &str, message: &str, help: &str| {
        let errors = load_text("routes.toml", file, &|_| None).expect_err(file);
        let first = errors.iter().next().unwrap();
        let found = first.help.as_deref().unwrap_or_default();
        assert!(first.message.contains(message) && found.contains(help), "{file}: {first:?}");
    };
    for (wrong, message, help) in [
        ("sticky = true", "must be a string or a list, not", "`client_ip`"),
        ("kill = true", "unknown key", "`routes = [\"NAME\"]`"),
        ("backends = [{ url = 'http://a' }]", "unknown key", "`[upstream.NAME]`"), // HAProxy
        ("match = { host = true }", "must be a string or a list, not", ""),
    ] {
        let upstream = "[upstream.v1]\nendpoints = 'http://10.0.0.1'\n[[route]]\nname = 'r'\nstable = 'v1'\n";
        check(&LISTENER.replace('@', &format!("{upstream}{wrong}")), message, help);
    }
    for (wrong, message, help) in [
        ("[log]\nlevel = 'debug'", "unknown key `log`", "`POINTSMAN_LOG`"),
        ("[access_log]\nlevel = 'debug'", "unknown key `level`", "`POINTSMAN_LOG`"),
        ("[[listener]]\naddress = ['127.0.0.1:0', '127.0.0.2:0']", "not a list", "a `[[listener]]` for each"),
        ("[server]\nport = 80", "unknown key `server`", "`[[listener]]`"),
        ("[kill]\nvariants = { a = 'b' }", "must be a string or a list, not a table", ""),
        (
            "[[upstream.v1.endpoints]]\nurl = 'http://a'",
            "a string, a list or a table",
            "`endpoints = [{ url = \"…\" }]`",
        ),
        ("[upstream.v1]\nendpoints = [true]", "must be a string or a table, not", ""),
    ] {
        check(&LISTENER.replace('@', wrong), message, help);
    }
}

#[test]
fn invalid_values_are_not_suggested() {
    for wrong in [
        "canary = 'The new one'",
        "canary = ['v1', 'v2']",
        "canary = 500",
        "shadow = 101",
        "shadow = 'http://10.0.0.2'",
        "limits = 'much'",
        "limits = '99999999999GiB'",
        "limits = '999999999GB'",
        "rewrite = 'https://x'",
        "timeout = '5'",
        "canary = { upstream = 'v2', weight = '1e1' }",
        "canary = { upstream = 'v2', weight = '500' }",
        "priority = '1.5'",
    ] {
        check_without(&route("@"), wrong);
    }
    for wrong in ["redirect = 'b.example'", "redirect = '/{nothing}'", "respond = 99", "respond = 600"] {
        check_without(ANSWER, wrong);
    }
    for wrong in [
        "match = 'HostRegexp(`a`)'",
        "match = 'Path(`/a`) && Path(`/b`)'",
        "match = '/a b'",
        "match = 'a b/x'",
        "match = ['/x', 'a.example']",
    ] {
        check_without(MATCH, wrong);
    }
    check_without(&MATCH.replace('@', "match = { path = @ }"), "5");
    check_without(&LISTENER.replace('@', "limits = { connections = @ }"), "'1.5'");
    check_without(&LISTENER.replace('@', "limits = { connections = @ }"), "'0'");
    check_without(&LISTENER.replace('@', "[access_log]\nsample = @"), "'5%'");
    check_without(UPSTREAM, "a = 'ftp://10.0.0.1'");
    check_without(UPSTREAM, "a = 'http://10.0.0.1/x'");
    assert_eq!(suggested(&NAMED.replace('@', "[[upstream]]\nname = 'My App'")), ["[upstream.NAME]"]);
}

#[test]
fn a_variable_without_braces_does_not_hide_other_help() {
    let file = MATCH.replace('@', "match = { path = 'a$USD' }");
    let errors = load_text("routes.toml", &file, &|_| None).expect_err(&file).to_string();
    assert!(errors.contains("write `/a$USD`") && errors.contains("is written `${USD}`"), "{errors}");
}
