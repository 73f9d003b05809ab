//! Responses: how the route's edits apply to local errors, the size limit of response heads, what shared caches see
//! with a cookie of ours, and requests without a body.

use std::collections::BTreeSet;

use http::Response;

use crate::harness::{H2, ONE_ROUTE, Proxy, Upstream, until};

/// Routes whose every response is a local error with the same edits.
const ERRORS: &str = r#"
[upstream.dead]
endpoints = ["http://127.0.0.1:1"]
[upstream.silent]
endpoints = ["http://{silent}"]
limits = { requests = 1 }

[[route]]
name = "dead"
match = { path = "/dead/*" }
stable = "dead"
sticky = []
canary = { upstream = "dead", weight = 100 }
limits = { body = "10B" }
[route.headers.response]
remove = ["x-request-id", "grpc-status"]
set = { access-control-allow-origin = "https://app.test", x-variant = "{route}/{variant}", x-id = "{request_id}", content-type = "text/html", cache-control = "public, max-age=60", proxy-status = "forged", retry-after = "9" }
add = { vary = "Origin", cache-control = "public" }

[[route]]
name = "silent"
match = { path = "/silent" }
stable = "silent"
timeout = { request = "30s" }
headers = { response = { set = { access-control-allow-origin = "https://app.test", retry-after = "9" } } }

[[route]]
name = "slow"
match = { path = "/slow" }
stable = "slow"
timeout = { request = "50ms" }
headers = { response = { set = { access-control-allow-origin = "https://app.test" } } }
[upstream.slow]
endpoints = ["http://{silent}"]
"#;

/// Reads requests and never responds.
fn silent() -> Upstream {
    Upstream::script(|mut conn| {
        if conn.request().is_ok() {
            conn.wait();
        }
    })
}

#[test]
fn header_edits_apply_to_local_error_responses() {
    let proxy = Proxy::with("silent", &silent()).start(ERRORS);
    let mut client = proxy.connect();
    let refused = client.get("/dead/x", "");
    let json = client.get("/dead/x", "Accept: application/json\r\n");
    let large = proxy.connect().post("/dead/x", "", b"more than ten bytes");
    for (answer, status, kind, variant) in [
        (&refused, 502, "text/plain; charset=utf-8", "dead/canary"),
        (&json, 502, "application/json", "dead/canary"),
        (&large, 413, "text/plain; charset=utf-8", "dead/canary"),
    ] {
        assert_eq!((answer.status, answer.field("content-type")), (status, Some(kind)));
        assert_eq!(answer.field("access-control-allow-origin"), Some("https://app.test"), "{status}");
        assert_eq!(answer.field("vary"), Some("Origin"), "{status}");
        assert_eq!(answer.field("x-variant"), Some(variant), "{status}");
        // The fields that describe the error stay.
        assert_eq!(answer.fields("cache-control"), ["no-store"], "{status}");
        let proxy_status = answer.fields("proxy-status");
        assert!(proxy_status.len() == 1 && proxy_status[0].starts_with("pointsman; error="), "{proxy_status:?}");
        assert_eq!(answer.field("x-id"), answer.field("x-request-id"), "{status}");
        assert!(answer.field("x-id").is_some_and(|id| answer.text().contains(id)), "{status}");
        let length: usize = answer.field("content-length").unwrap().parse().unwrap();
        assert_eq!(length, answer.body.len(), "{status}");
    }
    let over_h2 = H2::connect(proxy.address()).get("/dead/x");
    assert_eq!((over_h2.status, over_h2.field("access-control-allow-origin")), (502, Some("https://app.test")));

    let call = H2::request("POST", "/dead/pkg.Service/Method").header("content-type", "application/grpc");
    let call = H2::connect(proxy.address()).send(call.body(()).unwrap(), &[], None);
    assert_eq!((call.status, call.field("content-type")), (200, Some("application/grpc")));
    assert_eq!((call.field("grpc-status"), call.field("x-variant")), (Some("14"), Some("dead/canary")));

    // Without a route there are no edits.
    let none = client.get("/none", "");
    assert_eq!((none.status, none.field("access-control-allow-origin")), (404, None));
}

#[test]
fn header_edits_apply_to_timeouts_and_limits() {
    let silent = silent();
    let proxy = Proxy::with("silent", &silent).start(ERRORS);
    let late = proxy.connect().get("/slow", "");
    assert_eq!((late.status, late.field("access-control-allow-origin")), (504, Some("https://app.test")));
    let mut first = proxy.connect();
    first.send("GET /silent HTTP/1.1\r\nHost: test\r\n\r\n");
    until("the first request is there", || (silent.requests() == 2).then_some(()));
    let busy = proxy.connect().get("/silent", "");
    assert_eq!((busy.status, busy.field("access-control-allow-origin")), (503, Some("https://app.test")));
    assert_eq!(busy.fields("retry-after"), ["1"], "the proxy knows when to come again");
}

#[test]
fn requests_without_a_body_have_content_length_0() {
    let (echo, dark) = (Upstream::echo(), Upstream::echo());
    let proxy = Proxy::with("main", &echo).place("dark", dark.address()).start(&format!(
        "{ONE_ROUTE}\n[route.shadow]\nupstream = \"dark\"\nweight = 100\n\
         methods = [\"GET\", \"POST\", \"PUT\", \"PATCH\", \"DELETE\", \"OPTIONS\"]\n\
         [upstream.dark]\nendpoints = [\"http://{{dark}}\"]\n"
    ));
    let (mut h1, mut h2) = (proxy.connect(), H2::connect(proxy.address()));
    let cases = [
        ("POST", Some("0")),
        ("PUT", Some("0")),
        ("PATCH", Some("0")),
        ("GET", None),
        ("DELETE", None),
        ("OPTIONS", None),
    ];
    for (method, length) in cases {
        let length: Vec<_> = length.into_iter().collect();
        let answer = h1.send(format!("{method} /1 HTTP/1.1\r\nHost: test\r\n\r\n")).read_response();
        assert_eq!(answer.echoed("content-length"), length, "{method}");
        assert!(answer.echoed("transfer-encoding").is_empty(), "{method}");
        let answer = h2.send(H2::request(method, "/2").body(()).unwrap(), &[], None);
        let got = answer.json();
        let headers = got["headers"].as_array().unwrap();
        let found: Vec<_> = headers.iter().filter(|pair| pair[0] == "content-length").map(|pair| &pair[1]).collect();
        assert_eq!(found, length, "{method} over HTTP/2");
    }
    assert_eq!(h1.post("/3", "", b"").echoed("content-length"), ["0"]);
    assert_eq!(h1.post("/4", "", b"four").echoed("content-length"), ["4"]);
    // A length that is not known yet stays unknown.
    let chunked = "POST /5 HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    let answer = h1.send(chunked).read_response();
    assert!(answer.echoed("content-length").is_empty());
    assert_eq!(answer.echoed("transfer-encoding"), ["chunked"]);
    let copies = until("the copies", || {
        let got = dark.got();
        (got.len() == 2 * cases.len() + 3).then_some(got)
    });
    for copy in copies.iter().filter(|copy| matches!(copy.target.as_str(), "/1" | "/2")) {
        let expected = cases.iter().find(|(method, _)| *method == copy.method).unwrap().1;
        assert_eq!(copy.field("content-length"), expected, "the copy of {} {}", copy.method, copy.target);
    }
}

/// `/fields/N`: a response with N fields. `/bytes/N`: one with a field of N bytes.
fn asked(target: &str) -> (usize, usize) {
    let (kind, number) = target.trim_start_matches('/').split_once('/').unwrap();
    let number = number.parse().unwrap();
    if kind == "fields" { (number, 1) } else { (2, number) }
}

/// The fields of such a response besides its `Content-Length`.
fn answered(target: &str) -> impl Iterator<Item = (String, String)> {
    let (fields, bytes) = asked(target);
    (1..fields).map(move |number| (format!("x-{number}"), "a".repeat(bytes)))
}

fn large_heads() -> [(Upstream, &'static str); 2] {
    let h1 = Upstream::script(|mut conn| {
        while let Ok(got) = conn.request() {
            let lines: String =
                answered(&got.target).map(|(name, value)| [&*name, ": ", &*value, "\r\n"].concat()).collect();
            if !conn.send(format!("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n{lines}\r\n")) {
                return;
            }
        }
    });
    let h2 = Upstream::h2c_script(&h2::server::Builder::new(), |_, _, request, mut respond| {
        Box::pin(async move {
            let mut response = Response::builder().header("content-length", "0");
            for (name, value) in answered(request.uri().path()) {
                response = response.header(name, value);
            }
            // A proxy that refuses such a response has reset the stream.
            drop(respond.send_response(response.body(()).unwrap(), true));
        })
    });
    [(h1, "http://"), (h2, "h2c://")]
}

/// Responses pass up to the limits; beyond them the 502 names the keys.
#[track_caller]
fn check_head(upstream: &Upstream, scheme: &str, limits: &str, good: &[&str], bad: &[&str]) {
    let toml = ONE_ROUTE.replace("http://", scheme).replace("[upstream.main]", &format!("[upstream.main]\n{limits}"));
    let proxy = Proxy::with("main", upstream).start(&toml);
    for path in good {
        let answer = proxy.connect().get(path, "");
        assert_eq!(answer.status, 200, "{scheme} {limits} {path}: {}", answer.text());
        let names: BTreeSet<_> =
            answer.fields.iter().map(|(name, _)| name).filter(|name| name.starts_with("x-")).collect();
        assert_eq!(names.len() + 1, asked(path).0, "{scheme} {limits} {path}");
        assert_eq!(H2::connect(proxy.address()).get(path).status, 200, "{scheme} {limits} {path} over HTTP/2");
    }
    for path in bad {
        let answer = proxy.connect().get(path, "");
        assert_eq!(answer.status, 502, "{scheme} {limits} {path}");
        let status = answer.field("proxy-status").unwrap();
        let expected = "pointsman; error=http_response_header_section_size; details=\"upstream_response_headers\"";
        assert_eq!(status, expected, "{scheme} {limits} {path}");
        let text = answer.text();
        assert!(text.contains("upstream.limits.response_headers and response_header_bytes"), "{path}: {text}");
    }
    proxy.settles();
    let details = proxy.logged(2 * good.len() + bad.len()).into_iter().filter(|line| line["status"] == 502);
    let details: Vec<_> = details.map(|line| (line["termination"].clone(), line["detail"].clone())).collect();
    assert_eq!(details, vec![("UH".into(), "upstream_response_headers".into()); bad.len()]);
}

#[test]
fn response_heads_are_limited_in_size() {
    for (upstream, scheme) in &large_heads() {
        let good = ["/fields/100", "/fields/101", "/fields/256", "/bytes/65000"];
        check_head(upstream, scheme, "", &good, &["/fields/257", "/bytes/66000"]);
        let limits = "limits = { response_headers = 10, response_header_bytes = \"1KiB\" }";
        check_head(upstream, scheme, limits, &["/fields/10", "/bytes/900"], &["/fields/11", "/bytes/1100"]);
        let limits = "limits = { response_headers = 1000, response_header_bytes = \"256KiB\" }";
        check_head(upstream, scheme, limits, &["/fields/1000", "/bytes/260000"], &["/fields/1001", "/bytes/263000"]);
    }
}

/// A reload that changes the limits applies to the next request on every connection.
#[test]
fn new_limits_apply_at_once() {
    for (upstream, scheme) in &large_heads() {
        let one = ONE_ROUTE.replace("http://", scheme);
        let limited = one.replace("[upstream.main]", "[upstream.main]\nlimits = { response_headers = 300 }");
        let proxy = Proxy::with("main", upstream).start(&one);
        let mut client = proxy.connect();
        assert_eq!(client.get("/fields/3", "").status, 200);
        assert_eq!(client.get("/fields/300", "").status, 502);
        let listener = "[[listener]]\nname = \"http\"\naddress = \"127.0.0.1:0\"\n";
        let main = upstream.address().to_string();
        proxy.rewrite(&format!("{listener}{}", limited.replace("{main}", &main)));
        assert_eq!(client.get("/fields/300", "").status, 200, "{scheme}");
        proxy.rewrite(&format!("{listener}{}", one.replace("{main}", &main)));
        assert_eq!(client.get("/fields/300", "").status, 502, "{scheme}");
    }
}

#[test]
fn shared_caches_do_not_store_our_cookie() {
    let toml = r#"
[upstream.main]
endpoints = ["http://{main}"]
[[route]]
name = "all"
match = { path = "/*" }
stable = "main"
sticky_cookie = "pm_id"
"#;
    let edited = toml.to_owned() + "headers = { response = { set = { cache-control = \"max-age=60\" } } }\n";
    for (line, toml, expected) in [
        ("Cache-Control: public, max-age=60\r\n", toml, "public, max-age=60, no-cache=\"set-cookie\""),
        ("", toml, "no-cache=\"set-cookie\""),
        ("Cache-Control: private\r\n", toml, "private"),
        ("Cache-Control: no-store\r\n", edited.as_str(), "max-age=60, no-cache=\"set-cookie\""),
    ] {
        let echo = Upstream::echo().lines(line);
        let proxy = Proxy::with("main", &echo).start(toml);
        let (mut client, mut h2) = (proxy.connect(), H2::connect(proxy.address()));
        let answer = client.get("/", "");
        assert!(answer.field("set-cookie").is_some_and(|cookie| cookie.starts_with("pm_id=")));
        assert_eq!(answer.fields("cache-control"), [expected], "{line}");
        assert_eq!(h2.get("/").field("cache-control"), Some(expected), "{line}");
        // A caller with the cookie gets none, and the response unchanged.
        let known = client.get("/", "Cookie: pm_id=1\r\n");
        assert!(known.fields("set-cookie").is_empty());
        assert!(!known.fields("cache-control").iter().any(|value| value.contains("set-cookie")), "{line}");
    }
}
