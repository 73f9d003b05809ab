//! What the proxy reports to upstreams about clients, and to clients about itself: forwarded fields, ids, `Via`, loops,
//! hop-by-hop fields, and its local errors.

use crate::harness::{Answer, H2, Proxy, Raw, Upstream, field, until};

/// One route, with all of 127/8 trusted.
const TRUSTING: &str = r#"
[identity]
trusted_proxies = ["127.0.0.0/8", "10.0.0.0/8"]
tenant = ["header:x-tenant"]
[upstream.main]
endpoints = ["http://{main}"]
[[route]]
name = "all"
match = { path = "/*" }
stable = "main"
"#;

/// The same without trusted peers.
fn strangers() -> String {
    TRUSTING.replace("trusted_proxies", "# trusted_proxies")
}

#[test]
fn untrusted_peers_cannot_set_their_address() {
    let echo = Upstream::echo();
    let proxy = Proxy::with("main", &echo).start(&strangers());
    let port = proxy.address().port().to_string();
    let lies = "X-Forwarded-For: 1.2.3.4\r\nX-Forwarded-For: 5.6.7.8\r\nX-Forwarded-Proto: https\r\n\
        X-Forwarded-Host: evil\r\nX-Forwarded-Port: 1\r\nForwarded: for=1.2.3.4\r\nX-Request-Id: mine\r\n\
        X-Tenant: acme\r\nX_Forwarded_For: 1.2.3.4\r\nX_Tenant: acme\r\nX-Real-Ip: 1.2.3.4\r\nX_Other: kept\r\n\
        X-Forwarded-Client-Cert: cert\r\nProxy: http://evil\r\n";
    // Naming our fields in `Connection` cannot remove them either.
    let named = "Connection: x-forwarded-for, forwarded, via, x-request-id, x-forwarded-proto, host\r\n";
    for lines in [String::new(), lies.to_owned(), format!("{lies}{named}")] {
        let answer = proxy.connect().get("/", &lines);
        assert_eq!(answer.echoed("x-forwarded-for"), ["127.0.0.1"], "{lines}");
        assert_eq!(answer.echoed("x-forwarded-proto"), ["http"]);
        assert_eq!(answer.echoed("x-forwarded-host"), ["test"]);
        assert_eq!(answer.echoed("x-forwarded-port"), [port.as_str()]);
        let forwarded = answer.echoed("forwarded");
        assert_eq!(forwarded.len(), 1);
        for part in ["for=127.0.0.1", "proto=http", "host=test"] {
            assert!(forwarded[0].contains(part), "{forwarded:?}");
        }
        assert_eq!(answer.echoed("via"), ["1.1 pointsman"]);
        assert_eq!(answer.echoed("host"), ["test"]);
        let ids = answer.echoed("x-request-id");
        assert!(ids.len() == 1 && ids[0].len() == 36 && ids[0].as_bytes()[14] == b'7', "not one UUIDv7: {ids:?}");
        for gone in ["x-tenant", "x_forwarded_for", "x_tenant", "x-forwarded-client-cert", "proxy", "connection"] {
            assert!(answer.echoed(gone).is_empty(), "{gone} passed");
        }
        if !lines.is_empty() {
            assert_eq!(answer.echoed("x_other"), ["kept"]);
        }
    }
    assert_eq!(proxy.metric("pointsman_alias_headers_dropped_total"), 4.0);
    proxy.settles();
    assert!(proxy.logged(3).iter().all(|line| line["client_ip"] == "127.0.0.1" && line["tenant"].is_null()));
}

#[test]
fn fields_of_trusted_peers_are_used() {
    let echo = Upstream::echo();
    let proxy = Proxy::with("main", &echo).start(TRUSTING);
    let fields = "X-Forwarded-For: 6.6.6.6, 203.0.113.9, 10.0.0.1\r\nForwarded: for=203.0.113.9\r\nX-Forwarded-Proto: https\r\n\
        X-Forwarded-Host: shop.example\r\nX-Request-Id: abc-1\r\nX-Tenant: acme\r\nVia: 1.1 front\r\n";
    let answer = proxy.connect().get("/", fields);
    assert_eq!(answer.echoed("x-forwarded-for").join(", "), "6.6.6.6, 203.0.113.9, 10.0.0.1, 127.0.0.1");
    let forwarded = answer.echoed("forwarded").join(", ");
    assert!(forwarded.starts_with("for=203.0.113.9, for=127.0.0.1"), "{forwarded}");
    assert_eq!(answer.echoed("x-forwarded-proto"), ["https"]);
    assert_eq!(answer.echoed("x-forwarded-host"), ["shop.example"]);
    assert_eq!(answer.echoed("x-request-id"), ["abc-1"]);
    assert_eq!(answer.echoed("x-tenant"), ["acme"]);
    assert_eq!(answer.echoed("via").join(", "), "1.1 front, 1.1 pointsman");
    proxy.settles();
    // The first address from the right that is not trusted; everything left of it may be forged.
    assert_eq!(proxy.logged(1)[0]["client_ip"], "203.0.113.9");
}

/// A proxy in front forwards the fields of its clients: a name that an upstream may confuse with one of ours must not
/// pass.
#[test]
fn aliases_of_forwarded_fields_do_not_pass() {
    let echo = Upstream::echo();
    let proxy = Proxy::with("main", &echo).start(TRUSTING);
    let names = ["X-Forwarded-Client_Cert", "X-Forwarded-F_or", "X-Pointsman-Ex_plain", "X_Forwarded_Proto"];
    for name in names {
        let answer = proxy.connect().get("/", &format!("{name}: forged\r\nX-Forwarded-Proto: https\r\n"));
        assert!(answer.echoed(&name.to_ascii_lowercase()).is_empty(), "{name} passed");
        assert_eq!(answer.echoed("x-forwarded-proto"), ["https"]);
    }
    assert_eq!(proxy.metric("pointsman_alias_headers_dropped_total"), 4.0);
}

#[test]
fn both_kinds_of_forwarded_fields_name_the_same_client() {
    let echo = Upstream::echo();
    let proxy = Proxy::with("main", &echo).start(TRUSTING);
    let fields = "X-Forwarded-For: 203.0.113.9, 2001:db8::1\r\nX-Forwarded-For: nonsense\r\n";
    let forwarded = proxy.connect().get("/", fields).echoed("forwarded").join(", ");
    let all = "for=203.0.113.9, for=\"[2001:db8::1]\", for=unknown, for=127.0.0.1;";
    assert!(forwarded.starts_with(all), "{forwarded}");
}

#[test]
fn invalid_request_ids_are_replaced() {
    let echo = Upstream::echo();
    let proxy = Proxy::with("main", &echo).start(TRUSTING);
    for id in ["", "a b", &"x".repeat(200), "\u{e4}"] {
        let answer = proxy.connect().get("/", &format!("X-Request-Id: {id}\r\n"));
        assert_eq!(answer.echoed("x-request-id").len(), 1);
        assert_eq!(answer.echoed("x-request-id")[0].len(), 36, "{id:?}");
    }
}

#[test]
fn a_route_to_itself_ends_as_a_loop() {
    let untouched = Upstream::echo();
    let proxy = Proxy::with("main", &untouched).start(crate::harness::ONE_ROUTE);
    let own = proxy.address();
    proxy.rewrite(&format!(
        "[[listener]]\nname = \"http\"\naddress = \"127.0.0.1:0\"\n{}",
        crate::harness::ONE_ROUTE.replace("{main}", &own.to_string())
    ));
    assert_eq!(proxy.address(), own, "a reload moved the listener");
    let answer = proxy.connect().get("/", "");
    assert_eq!(answer.status, 508);
    assert_eq!(answer.field("proxy-status").map(|status| status.contains("proxy_loop_detected")), Some(true));
    assert_eq!(proxy.refused("loop"), 1.0);
    assert!(proxy.metric_sum("pointsman_requests_total") <= 3.0, "a loop went around more often than necessary");
    assert_eq!(untouched.requests(), 0);
}

#[test]
fn hop_by_hop_fields_are_not_forwarded() {
    let echo = Upstream::echo().lines(
        "Connection: keep-alive, X-Own\r\nKeep-Alive: timeout=5\r\nX-Own: 1\r\nProxy-Authenticate: Basic\r\n\
         Upgrade: h2c\r\nProxy-Connection: close\r\nX-Kept: 1\r\n",
    );
    let proxy = Proxy::to(&echo);
    let lines = "Connection: keep-alive, X-Mine, Te\r\nX-Mine: 1\r\nKeep-Alive: 5\r\nProxy-Connection: keep-alive\r\n\
        Proxy-Authorization: Basic x\r\nTE: gzip, trailers\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\nX-Kept: 1\r\n";
    let answer = proxy.connect().get("/", lines);
    for gone in
        ["connection", "x-mine", "keep-alive", "proxy-connection", "proxy-authorization", "upgrade", "http2-settings"]
    {
        assert!(answer.echoed(gone).is_empty(), "{gone} passed to the upstream");
    }
    assert_eq!(answer.echoed("te"), ["trailers"]);
    assert_eq!(answer.echoed("x-kept"), ["1"]);
    for gone in ["x-own", "keep-alive", "upgrade", "proxy-connection", "proxy-authenticate"] {
        assert!(answer.fields(gone).is_empty(), "{gone} passed to the client");
    }
    assert_eq!(answer.field("x-kept"), Some("1"));
}

#[test]
fn connection_options_cannot_remove_framing_or_host() {
    let echo = Upstream::echo();
    let proxy = Proxy::to(&echo);
    let lines = "Connection: host, content-length, transfer-encoding, cookie, close\r\nCookie: a=b\r\n";
    let mut client = proxy.connect();
    let answer = client.post("/", lines, b"hello");
    assert_eq!(answer.json()["body"], "hello");
    assert_eq!(answer.echoed("host"), ["test"]);
    client.ends();
}

/// Fields of framing, routing and identity, which trailers must not add after the head.
const FORBIDDEN: [&str; 9] = [
    "content-length",
    "transfer-encoding",
    "host",
    "x-forwarded-for",
    "forwarded",
    "authorization",
    "x-request-id",
    "connection",
    "cookie",
];

#[test]
fn trailers_pass_without_forbidden_fields() {
    let with_trailers = Upstream::script(|mut conn| {
        while conn.request().is_ok() {
            conn.send(
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n2\r\nok\r\n0\r\n\
                 X-Sum: 2\r\nContent-Length: 7\r\nTransfer-Encoding: chunked\r\nSet-Cookie: a=b\r\nHost: evil\r\n\r\n",
            );
        }
    });
    let proxy = Proxy::to(&with_trailers);
    let mut client = proxy.connect();
    client
        .send("POST / HTTP/1.1\r\nHost: test\r\nTE: trailers\r\nTransfer-Encoding: chunked\r\nTrailer: x-mine\r\n\r\n");
    client.send("5\r\nhello\r\n0\r\nX-Mine: 1\r\n");
    for name in FORBIDDEN {
        client.send(format!("{name}: 9\r\n"));
    }
    client.send("X_Forwarded_For: 9\r\n\r\n");
    let answer = client.read_response();
    assert_eq!((answer.status, answer.text()), (200, "ok".to_owned()));
    assert_eq!(field(&answer.trailers, "x-sum"), Some("2"));
    assert_eq!(answer.trailers.len(), 1, "{:?}", answer.trailers);
    let got = &with_trailers.got()[0];
    assert_eq!(got.body, b"hello");
    assert_eq!(field(&got.trailers, "x-mine"), Some("1"));
    assert_eq!(got.trailers.len(), 1, "{:?}", got.trailers);
    // The connection is in the expected state.
    assert_eq!(client.get("/", "").status, 200);
}

#[test]
fn error_responses_follow_accept() {
    let proxy = Proxy::start(
        "[upstream.main]\nendpoints = [\"http://127.0.0.1:1\"]\n[[route]]\nname = \"all\"\nmatch = { host = \"test\" }\nstable = \"main\"\n",
    );
    let mut client = proxy.connect();
    let proxy_status = "pointsman; error=connection_refused; details=\"connect_refused\"";
    let plain = client.get("/", "");
    assert_eq!((plain.status, plain.field("content-type")), (502, Some("text/plain; charset=utf-8")));
    assert_eq!(plain.field("proxy-status"), Some(proxy_status));
    let id = plain.field("x-request-id").unwrap_or_default().to_owned();
    assert!(plain.text().contains(&id) && !plain.text().contains("127.0.0.1"), "{}", plain.text());
    let json = client.get("/", "Accept: application/json\r\n");
    assert_eq!((json.status, json.field("content-type")), (502, Some("application/json")));
    assert_eq!(json.json()["status"], 502);
    assert_eq!(json.json()["request_id"].as_str(), json.field("x-request-id"));
    let grpc = client.post("/pkg.Service/Method", "Content-Type: application/grpc\r\nTE: trailers\r\n", b"");
    assert_eq!((grpc.status, grpc.field("content-type")), (200, Some("application/grpc")));
    assert_eq!(grpc.field("grpc-status"), Some("14"));
    assert!(grpc.body.is_empty());
    let head = client.send("HEAD / HTTP/1.1\r\nHost: test\r\n\r\n").read_response_to("HEAD");
    assert_eq!(head.status, 502);
    let none = client.send("GET / HTTP/1.1\r\nHost: other\r\n\r\n").read_response();
    assert_eq!((none.status, none.field("connection")), (404, None));
    assert_eq!(proxy.refused("no_route"), 1.0);
    drop(client);
    proxy.settles();
    let lines = proxy.logged(5);
    assert_eq!((lines[0]["termination"].as_str(), lines[0]["detail"].as_str()), (Some("UC"), Some("connect_refused")));
    assert_eq!((lines[4]["termination"].as_str(), lines[4]["detail"].as_str()), (Some("PD"), Some("no_route")));
    assert_eq!(lines[0]["request_id"].as_str(), Some(id.as_str()));
    // gRPC sends its errors in a 200; the metrics count the status that the client saw.
    assert_eq!(proxy.metric_sum("pointsman_requests_total"), 5.0);
}

#[test]
fn what_matches_is_what_is_forwarded() {
    let toml = r#"
[upstream.main]
endpoints = ["http://{main}"]
[[route]]
name = "admin"
match = { path = "/admin/*" }
respond = { status = 403, body = "no" }
[[route]]
name = "all"
match = { path = "/*" }
stable = "main"
"#;
    let echo = Upstream::echo();
    let proxy = Proxy::with("main", &echo).start(toml);
    let ask = |path: &str| proxy.connect().get(path, "");
    for path in [
        "/admin",
        "/admin/x",
        "/a/../admin/x",
        "/a/%2e%2e/admin/x",
        "/./admin/x",
        "/%2E/admin",
        "/%61dmin/x",
        "/admi%6E",
        "/%7E/%2e%2E/%61%64%6d%69%6E/x",
    ] {
        assert_eq!(ask(path).status, 403, "{path} bypassed the rule");
    }
    assert_eq!(ask("/../admin").status, 400, "there is no parent of the root");
    let target = |answer: Answer| answer.json()["target"].as_str().map(str::to_owned).unwrap_or_default();
    for (path, forwarded) in [
        ("/a/./b", "/a/b"),
        ("/a/../b?c=/../d", "/b?c=/../d"),
        ("/a/%2e%2e/b", "/b"),
        ("/a%2fb", "/a%2fb"),
        ("/a//b", "/a//b"),
        ("/%252e%252e/admin", "/%252e%252e/admin"),
        ("/%2561dmin", "/%2561dmin"),
        ("/%7Euser/%41?%7E=%41", "/~user/A?%7E=%41"),
        ("/%2F%25%3F%5C%3b", "/%2F%25%3F%5C%3b"),
        ("http://test/x/../y", "/y"),
        ("/?", "/?"),
    ] {
        assert_eq!(target(ask(path)), forwarded, "{path}");
    }
    proxy.settles();
    for line in proxy.logged(21) {
        // Refused requests are logged as received, all others as matched.
        let path = line["path"].as_str().unwrap();
        assert_eq!(path.contains("/../"), line["detail"] == "bad_path", "{line}");
    }
}

/// A route's limits, rewrites and regexes apply to every spelling of its paths, over HTTP/2 too.
#[test]
fn no_path_spelling_bypasses_a_route() {
    let toml = r#"
[upstream.main]
endpoints = ["http://{main}"]
[[route]]
name = "checkout"
match = { path = "/checkout/*" }
stable = "main"
limits = { body = "10B" }
rewrite = { prefix = "/v2" }
[[route]]
name = "item"
match = { path = { regex = "/item-[0-9]+" } }
stable = "main"
rewrite = { regex = "^/item-", to = "/items/" }
[[route]]
name = "all"
match = { path = "/*" }
stable = "main"
"#;
    let echo = Upstream::echo();
    let proxy = Proxy::with("main", &echo).start(toml);
    let big = [b'a'; 20];
    for path in ["/checkout/pay", "/%63heckout/pay", "/checkou%74/pay"] {
        assert_eq!(proxy.connect().post(path, "", &big).status, 413, "{path}");
        let answer = proxy.connect().get(path, "");
        assert_eq!(answer.json()["target"], "/v2/pay", "{path}");
        assert_eq!(H2::connect(proxy.address()).get(path).json()["target"], "/v2/pay", "{path}");
    }
    for path in ["/item-7", "/item%2D%37", "/%69tem-7"] {
        assert_eq!(proxy.connect().get(path, "").json()["target"], "/items/7", "{path}");
    }
}

#[test]
fn encoded_slashes_can_be_rejected() {
    let echo = Upstream::echo();
    let proxy = Proxy::with("main", &echo).limits("encoded_slash = \"reject\"").start(crate::harness::ONE_ROUTE);
    for path in ["/a%2fb", "/a%5Cb", "/a\\b"] {
        assert_eq!(proxy.connect().get(path, "").status, 400, "{path}");
    }
    assert_eq!(proxy.connect().get("/a/b", "").status, 200);
}

#[test]
fn rewrites_and_edits_reach_the_upstream() {
    let toml = r#"
[upstream.main]
endpoints = ["http://{main}"]
[[route]]
name = "all"
match = { path = "/api/*" }
stable = "main"
rewrite = { prefix = "/v1", host = "internal.example" }
[route.headers]
request = { set = { x-variant = "{variant}", x-route = "{route}", x-ip = "{client_ip}" }, add = { x-more = "1" }, remove = ["x-internal"] }
response = { set = { x-served = "{variant}" }, remove = ["x-powered-by"] }
"#;
    let echo = Upstream::echo().lines("X-Powered-By: magic\r\n");
    let proxy = Proxy::with("main", &echo).start(toml);
    // Also with the names that an upstream may confuse with ours.
    let aliases = "X_Internal: 1\r\nX_Variant: mine\r\nx-route_: kept\r\n";
    let lines = format!("X-Internal: 1\r\nX-Variant: mine\r\nX-More: 0\r\n{aliases}");
    let answer = proxy.connect().get("/api/a?b=c", &lines);
    assert!(answer.echoed("x_internal").is_empty() && answer.echoed("x_variant").is_empty());
    assert_eq!(answer.echoed("x-route_"), ["kept"]);
    assert_eq!(proxy.metric("pointsman_alias_headers_dropped_total"), 2.0);
    assert_eq!(answer.json()["target"], "/v1/a?b=c");
    assert_eq!(answer.echoed("host"), ["internal.example"]);
    assert_eq!(answer.echoed("x-forwarded-host"), ["test"]);
    assert_eq!(answer.echoed("x-variant"), ["stable"]);
    assert_eq!(answer.echoed("x-route"), ["all"]);
    assert_eq!(answer.echoed("x-ip"), ["127.0.0.1"]);
    assert_eq!(answer.echoed("x-more"), ["0", "1"]);
    assert!(answer.echoed("x-internal").is_empty());
    assert_eq!(answer.field("x-served"), Some("stable"));
    assert!(answer.fields("x-powered-by").is_empty());
}

/// A cleartext listener that redirects to `https`, and one behind a proxy that ended `https`.
const TO_HTTPS: &str = r#"
[[listener]]
name = "http"
address = "127.0.0.1:0"
redirect = { to = "https://{host}:8443{path}{query}" }

[upstream.main]
endpoints = ["http://{main}"]

[[route]]
name = "all"
match = { path = "/*" }
stable = "main"
"#;

#[test]
fn a_redirect_to_the_request_path_keeps_the_host() {
    let toml = "[[route]]\nname = 'slash'\nmatch = { path = '/*' }\nredirect = { to = '{path}{query}' }\n";
    let proxy = Proxy::workers(1).start(toml);
    let mut client = proxy.connect();
    for (target, location) in [
        ("/a/b?c=1", "/a/b?c=1"),
        ("//evil.com/x", "/.//evil.com/x"),
        ("/\\evil.com/x?y", "/./\\evil.com/x?y"),
        ("http://test//evil.com", "/.//evil.com"),
        ("/..//evil.com/x", ""),
        ("/a/..//evil.com/x", "/.//evil.com/x"),
        ("/%2F/evil.com", "/%2F/evil.com"),
    ] {
        client.send(format!("GET {target} HTTP/1.1\r\nHost: test\r\n\r\n"));
        let answer = client.read_response();
        let expected = if location.is_empty() { (400, None) } else { (308, Some(location)) };
        assert_eq!((answer.status, answer.field("location")), expected, "{target}");
        if expected.0 == 400 {
            client = proxy.connect();
        }
    }
    let ask = format!("GET /explain?host=test&path=//evil.com/x HTTP/1.1\r\nHost: {}\r\n\r\n", proxy.admin());
    let answer = Raw::connect(proxy.admin()).send(ask).read_response().text();
    assert!(answer.contains("/.//evil.com/x"), "{answer}");
}

#[test]
fn a_listener_redirects_cleartext_requests_to_https() {
    let upstream = Upstream::echo();
    let proxy = Proxy::with("main", &upstream).start(TO_HTTPS);
    let mut client = proxy.connect();
    for (path, location) in [
        ("/", "https://test:8443/"),
        ("/a%20b/c?x=1&y=%2F", "https://test:8443/a%20b/c?x=1&y=%2F"),
        ("/deeper/../up", "https://test:8443/up"),
    ] {
        // An untrusted peer is redirected whatever its fields say.
        let answer = client.get(path, "X-Forwarded-Proto: https\r\n");
        assert_eq!((answer.status, answer.field("location")), (308, Some(location)));
    }
    let posted = client.post("/form", "", b"body");
    assert_eq!(posted.status, 308, "308 keeps the method and the body");
    assert_eq!(H2::connect(proxy.address()).get("/").status, 308);
    let mut old = proxy.connect();
    assert_eq!(old.send("GET / HTTP/1.0\r\n\r\n").read_response().status, 400, "the target of the redirect is unknown");
    assert_eq!(upstream.requests(), 0);

    let trusting = format!("[identity]\ntrusted_proxies = [\"127.0.0.0/8\"]\n{TO_HTTPS}");
    let proxy = Proxy::with("main", &upstream).start(&trusting);
    let mut client = proxy.connect();
    assert_eq!(client.get("/", "X-Forwarded-Proto: HTTPS\r\n").status, 200, "it came by https: no circle");
    assert_eq!(client.get("/", "X-Forwarded-Proto: http\r\n").status, 308);
    assert_eq!(client.get("/", "").status, 308);
}

#[test]
fn trailers_pass_without_a_trailer_field() {
    let long = "x".repeat(2_000_000);
    let bodies = ["", "ok", "0\r\n\r\n", &long];
    let answers = bodies.map(|body| {
        let chunk = if body.is_empty() { String::new() } else { format!("{:x}\r\n{body}\r\n", body.len()) };
        format!(
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{chunk}0\r\nx-sum: 1\r\nX-Sum: 2\r\nhost: evil\r\n\r\n"
        )
    });
    let upstream = Upstream::script(move |mut conn| {
        while let Ok(got) = conn.request() {
            let case: usize = got.target[1..].parse().unwrap();
            conn.send(&answers[case]);
        }
    });
    let proxy = Proxy::to(&upstream);
    let mut client = proxy.connect();
    let sent = |case: usize, lines: &str| {
        let body = bodies[case];
        let chunk = if body.is_empty() { String::new() } else { format!("{:x}\r\n{body}\r\n", body.len()) };
        let framing = "Transfer-Encoding: chunked\r\n\r\n";
        format!(
            "POST /{case} HTTP/1.1\r\nHost: test\r\n{lines}{framing}{chunk}0\r\nX-Mine: 1\r\nX-Mine: 2\r\nCookie: a\r\n\r\n"
        )
    };
    let pairs = |name: &str, trailers: &[(String, String)]| {
        let values: Vec<&str> = trailers.iter().map(|(_, value)| value.as_str()).collect();
        assert!(trailers.iter().all(|(known, _)| known == name), "{trailers:?}");
        values.join(" ")
    };
    // A client that did not announce support for trailers gets none.
    for (te, expected) in
        [("TE: trailers\r\n", "1 2"), ("TE: gzip, trailers\r\n", "1 2"), ("", ""), ("TE: gzip\r\n", "")]
    {
        for (case, body) in bodies.iter().enumerate() {
            client.send(sent(case, te));
            let answer = client.read_response();
            assert!(answer.text() == *body, "{te:?} {case}");
            assert_eq!(pairs("x-sum", &answer.trailers), expected, "{te:?} {case}");
            let got = upstream.got().pop().unwrap();
            assert!(got.body == body.as_bytes(), "{te:?} {case}");
            assert_eq!(pairs("x-mine", &got.trailers), "1 2", "{te:?} {case}");
        }
    }
    // A client that reads late, with more requests waiting.
    let mut late = proxy.connect();
    late.send([sent(3, "TE: trailers\r\n"), sent(1, ""), sent(0, "TE: trailers\r\n")].concat());
    until("the response has begun", || late.wire.has_bytes().then_some(()));
    for (case, expected) in [(3, "1 2"), (1, ""), (0, "1 2")] {
        let answer = late.read_response();
        assert!(answer.text() == bodies[case], "{case}");
        assert_eq!(pairs("x-sum", &answer.trailers), expected, "{case}");
    }
    assert!(upstream.accepted() <= 2, "{}", upstream.accepted());
    drop((client, late));
    proxy.settles();
}

#[test]
fn without_chunks_there_are_no_trailers() {
    let h2c = Upstream::h2c_script(&h2::server::Builder::new(), |_, _, request, mut respond| {
        Box::pin(async move {
            let sized = request.uri().path() == "/sized";
            let response = http::Response::builder();
            let response = if sized { response.header("content-length", "2") } else { response };
            let mut stream = respond.send_response(response.body(()).unwrap(), false).unwrap();
            stream.send_data(bytes::Bytes::from_static(b"ok"), false).unwrap();
            let mut trailers = http::HeaderMap::new();
            trailers.insert("x-sum", "1".parse().unwrap());
            let _ = stream.send_trailers(trailers);
        })
    });
    let proxy = Proxy::with("main", &h2c).start(&crate::harness::ONE_ROUTE.replace("http://", "h2c://"));
    let mut client = proxy.connect();
    for _ in 0..10 {
        let answer = client.get("/sized", "TE: trailers\r\n");
        assert_eq!((answer.text().as_str(), answer.trailers.len()), ("ok", 0));
        let answer = client.get("/chunked", "TE: trailers\r\n");
        assert_eq!((answer.text().as_str(), field(&answer.trailers, "x-sum")), ("ok", Some("1")));
        let answer = client.get("/chunked", "");
        assert_eq!((answer.text().as_str(), answer.trailers.len()), ("ok", 0));
    }
    client.send("GET /chunked HTTP/1.0\r\nHost: test\r\nTE: trailers\r\n\r\n");
    let answer = client.read_response();
    assert_eq!((answer.text().as_str(), answer.trailers.len()), ("ok", 0));
    client.ends();
    // On HTTP/1.1 a body with a length cannot have trailers.
    let echo = Upstream::echo();
    let proxy = Proxy::to(&echo);
    let mut client = H2::connect(proxy.address());
    for (length, expected) in [(Some("4"), 0), (None, 1), (Some("4"), 0), (None, 1)] {
        let mut request = H2::request("POST", "/");
        if let Some(length) = length {
            request = request.header("content-length", length);
        }
        let mut trailers = http::HeaderMap::new();
        trailers.insert("x-sum", "1".parse().unwrap());
        let answer = client.send(request.body(()).unwrap(), &[b"bo", b"dy"], Some(trailers));
        assert_eq!((answer.status, answer.json()["body"].as_str()), (200, Some("body")), "{length:?}");
        assert_eq!(echo.got().pop().unwrap().trailers.len(), expected, "{length:?}");
    }
}

/// Queries outside of the grammar that still have one reading.
const ODD_QUERIES: [&[u8]; 8] = [
    b"a=b|c^d{e}f`g\\h",
    b"q=%zz&r=%&s=%4",
    b"q=\"quoted\"",
    b"q=<b>&r=>",
    "q=caf\u{e9}".as_bytes(),
    b"q=caf\xe9",
    b"q=\xff\xfe\"&r=?a=/../b",
    b"",
];

fn target_bytes(conn: &mut crate::harness::upstream::Conn) -> Option<Vec<u8>> {
    let line = conn.wire.line().ok()?;
    conn.wire.fields().ok()?;
    line.split(|b| *b == b' ').nth(1).map(<[u8]>::to_vec)
}

#[test]
fn queries_pass_unchanged() {
    let (seen, targets) = std::sync::mpsc::channel();
    let upstream = Upstream::script(move |mut conn| {
        while let Some(target) = target_bytes(&mut conn) {
            seen.send(target).unwrap();
            conn.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
        }
    });
    let toml = r#"
[upstream.main]
endpoints = ["http://{main}"]
[[route]]
name = "moved"
match = { path = "/moved" }
redirect = { to = "https://test/new{query}", status = 308 }
[[route]]
name = "quoted"
match = { path = "/by", query = { q = "\"quoted\"" } }
respond = { status = 299, body = "quoted" }
[[route]]
name = "other"
match = { path = "/old/*" }
stable = "main"
rewrite = { prefix = "/new" }
[[route]]
name = "all"
match = { path = "/*" }
stable = "main"
"#;
    let proxy = Proxy::with("main", &upstream).start(toml);
    let mut client = proxy.connect();
    for query in ODD_QUERIES {
        for (path, forwarded) in [("/a", "/a"), ("/a/./b", "/a/b"), ("/old/x", "/new/x"), ("http://test/a", "/a")] {
            let what = format!("{path} {}", query.escape_ascii());
            client.send([b"GET ", path.as_bytes(), b"?", query, b" HTTP/1.1\r\nHost: test\r\n\r\n"].concat());
            assert_eq!(client.read_response().status, 200, "{what}");
            assert_eq!(targets.recv().unwrap(), [forwarded.as_bytes(), b"?", query].concat(), "{what}");
        }
        client.send([b"GET /moved?", query, b" HTTP/1.1\r\nHost: test\r\n\r\n"].concat());
        let moved = client.read_response();
        let location = moved.field("location").unwrap();
        assert!(moved.status == 308 && location.bytes().all(|b| (0x21..0x7f).contains(&b)), "{location:?}");
    }
    // On a pipeline, and byte by byte.
    let get = |query: &[u8]| [b"GET /p?", query, b" HTTP/1.1\r\nHost: test\r\n\r\n"].concat();
    client.send(ODD_QUERIES.map(get).concat());
    for byte in ODD_QUERIES.map(get).concat() {
        client.send([byte]);
    }
    for query in ODD_QUERIES.iter().chain(&ODD_QUERIES) {
        assert_eq!(client.read_response().status, 200);
        assert_eq!(targets.recv().unwrap(), [b"/p?", *query].concat());
    }
    for query in [&b"q=\"quoted\""[..], b"q=%22quoted%22"] {
        client.send([b"GET /by?", query, b" HTTP/1.1\r\nHost: test\r\n\r\n"].concat());
        assert_eq!(client.read_response().status, 299, "{}", query.escape_ascii());
    }
    drop(client);
    proxy.settles();
    // This fails if a line is not JSON.
    proxy.logged(ODD_QUERIES.len() * 7 + 2);
}

#[test]
fn a_query_that_is_too_long_when_it_is_escaped_is_414() {
    let echo = Upstream::echo();
    let proxy = Proxy::with("main", &echo).limits("uri_bytes = \"64KiB\"").start(crate::harness::ONE_ROUTE);
    let mut client = proxy.connect();
    for (quotes, status) in [(20_000, 200), (21_900, 414)] {
        client.send(format!("GET /?{} HTTP/1.1\r\nHost: test\r\n\r\n", "\"".repeat(quotes)));
        assert_eq!(client.read_response().status, status, "{quotes} quotes");
    }
    client.ends();
    assert_eq!((proxy.refused("uri_too_long"), echo.requests()), (1.0, 1));
    assert_eq!(echo.got()[0].target.len(), 20_002);
}

#[test]
fn queries_pass_over_http2_as_far_as_it_can_carry_them() {
    let h2c = Upstream::h2c();
    let to_h2c = Proxy::with("main", &h2c).start(&crate::harness::ONE_ROUTE.replace("http://", "h2c://"));
    let echo = Upstream::echo();
    let to_h1 = Proxy::to(&echo);
    for query in ["a=b|c^d{e}f`g\\h", "q=%zz&r=%", "q=caf\u{e9}"] {
        for (proxy, upstream) in [(&to_h2c, &h2c), (&to_h1, &echo)] {
            let path = format!("/a?{query}");
            let mut frames = crate::harness::frames::Frames::connect(proxy.address(), &[]);
            let block = crate::harness::frames::get("test", &path);
            frames.headers(1, crate::harness::frames::END_STREAM, &block);
            let fate = frames.fate(1);
            assert!(matches!(fate, crate::harness::frames::Fate::Answered(200, _)), "{query}: {fate:?}");
            assert!(upstream.got().pop().unwrap().target.ends_with(&path), "{:?}", upstream.got().pop());
            assert_eq!(proxy.connect().get(&path, "").status, 200);
            assert!(upstream.got().pop().unwrap().target.ends_with(&path), "{:?}", upstream.got().pop());
        }
    }
    // A `:path` is a URI: other bytes are percent-encoded there.
    let mut client = to_h2c.connect();
    client.send(b"GET /a?q=\"<\xe9>\" HTTP/1.1\r\nHost: test\r\n\r\n");
    assert_eq!(client.read_response().status, 200);
    assert!(h2c.got().pop().unwrap().target.ends_with("/a?q=%22%3C%E9%3E%22"));
}
