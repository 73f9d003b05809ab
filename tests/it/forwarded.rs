//! `X-Forwarded-*` and `Forwarded` of a trusted peer: services read one client, one scheme, one host and one port in
//! every field, over HTTP/1.1 and HTTP/2. Fields of other peers are ignored.

use crate::harness::{H2, Proxy, Raw, Upstream};

const ROUTES: &str = r#"
[identity]
trusted_proxies = ["127.0.0.0/8", "10.0.0.0/8"]
[upstream.main]
endpoints = ["http://{main}"]
[[route]]
name = "away"
match = { path = "/away" }
redirect = { to = "{scheme}://{host}/there" }
[[route]]
name = "all"
match = { path = "/*" }
stable = "main"
sticky = []
sticky_cookie = "pm_id"
"#;

/// The fields that a peer sends, and the values that a service reads: the client, the fields of X-Forwarded-For,
/// -Proto, -Host and -Port (empty: the listener's own), and the beginning of `Forwarded`.
struct Case {
    says: &'static [(&'static str, &'static str)],
    client: &'static str,
    x_for: &'static str,
    proto: &'static str,
    host: &'static str,
    port: &'static str,
    forwarded: &'static str,
}

const OWN: Case = Case {
    says: &[],
    client: "127.0.0.1",
    x_for: "127.0.0.1",
    proto: "http",
    host: "test",
    port: "",
    forwarded: "for=127.0.0.1;host=test;proto=http",
};

const CASES: &[Case] = &[
    OWN,
    Case {
        says: &[("X-Forwarded-For", "203.0.113.9"), ("X-Forwarded-Proto", "https")],
        client: "203.0.113.9",
        x_for: "203.0.113.9, 127.0.0.1",
        proto: "https",
        port: "443",
        forwarded: "for=203.0.113.9;proto=https, for=127.0.0.1;host=test;proto=https",
        ..OWN
    },
    Case {
        says: &[("Forwarded", "for=203.0.113.9;proto=https")],
        client: "203.0.113.9",
        x_for: "203.0.113.9, 127.0.0.1",
        proto: "https",
        port: "443",
        forwarded: "for=203.0.113.9;proto=https, for=127.0.0.1;host=test;proto=https",
        ..OWN
    },
    Case {
        says: &[("Forwarded", "for=\"203.0.113.9:50321\";host=\"shop.test:8443\";proto=https")],
        client: "203.0.113.9",
        x_for: "203.0.113.9:50321, 127.0.0.1",
        proto: "https",
        host: "shop.test:8443",
        port: "8443",
        forwarded: "for=\"203.0.113.9:50321\";host=\"shop.test:8443\";proto=https, for=127.0.0.1;host=\"shop.test:8443\";",
    },
    Case {
        says: &[("X-Forwarded-For", "203.0.113.9:50321")],
        client: "203.0.113.9",
        x_for: "203.0.113.9:50321, 127.0.0.1",
        forwarded: "for=\"203.0.113.9:50321\", for=127.0.0.1;host=test;proto=http",
        ..OWN
    },
    Case {
        says: &[("X-Forwarded-For", "[2001:db8::9]:50321, 10.0.0.1")],
        client: "2001:db8::9",
        x_for: "[2001:db8::9]:50321, 10.0.0.1, 127.0.0.1",
        forwarded: "for=\"[2001:db8::9]:50321\", for=10.0.0.1, for=127.0.0.1;",
        ..OWN
    },
    Case {
        says: &[("X-Forwarded-For", "203.0.113.9,,10.0.0.1,"), ("X-Forwarded-Proto", "https,http")],
        client: "203.0.113.9",
        x_for: "203.0.113.9, 10.0.0.1, 127.0.0.1",
        proto: "https",
        port: "443",
        forwarded: "for=203.0.113.9;proto=https, for=10.0.0.1, for=127.0.0.1;host=test;proto=https",
        ..OWN
    },
    Case {
        says: &[("X-Forwarded-Proto", "https"), ("X-Forwarded-Host", "shop.test"), ("X-Forwarded-Port", "8443")],
        proto: "https",
        host: "shop.test",
        port: "8443",
        forwarded: "for=127.0.0.1;host=shop.test;proto=https",
        ..OWN
    },
    Case {
        says: &[("X-Forwarded-For", "203.0.113.9"), ("X-Forwarded-Proto", "http")],
        client: "203.0.113.9",
        x_for: "203.0.113.9, 127.0.0.1",
        port: "80",
        forwarded: "for=203.0.113.9;proto=http, for=127.0.0.1;host=test;proto=http",
        ..OWN
    },
    // Two fields that name different clients: X-Forwarded-For counts.
    Case {
        says: &[("X-Forwarded-For", "203.0.113.9"), ("Forwarded", "for=198.51.100.1;proto=https;host=evil.test")],
        client: "203.0.113.9",
        x_for: "203.0.113.9, 127.0.0.1",
        forwarded: "for=203.0.113.9, for=127.0.0.1;host=test;proto=http",
        ..OWN
    },
    // The client's own fields, which the trusted peer appended to, are not the peer's.
    Case {
        says: &[("Forwarded", "for=6.6.6.6;proto=https;host=evil.test, for=203.0.113.9;proto=http")],
        client: "203.0.113.9",
        x_for: "6.6.6.6, 203.0.113.9, 127.0.0.1",
        port: "80",
        forwarded: "for=6.6.6.6;proto=https;host=evil.test, for=203.0.113.9;proto=http, for=127.0.0.1;host=test;proto=http",
        ..OWN
    },
];

/// The one line of a field that the upstream got.
fn line(got: &serde_json::Value, name: &str) -> String {
    let lines = got["headers"].as_array().unwrap().iter().filter(|pair| pair[0].as_str() == Some(name));
    let lines: Vec<_> = lines.map(|pair| pair[1].as_str().unwrap()).collect();
    assert_eq!(lines.len(), 1, "{name}: {got}");
    lines[0].to_owned()
}

/// The fields of the peer as lines of a head.
fn lines_of(case: &Case) -> String {
    case.says.iter().map(|(name, value)| [*name, ": ", *value, "\r\n"].concat()).collect()
}

fn check(got: &serde_json::Value, case: &Case, own_port: &str) {
    let says = case.says;
    let port = if case.port.is_empty() { own_port } else { case.port };
    assert_eq!(line(got, "x-forwarded-for"), case.x_for, "{says:?}");
    assert_eq!(line(got, "x-forwarded-proto"), case.proto, "{says:?}");
    assert_eq!(line(got, "x-forwarded-host"), case.host, "{says:?}");
    assert_eq!(line(got, "x-forwarded-port"), port, "{says:?}");
    let forwarded = line(got, "forwarded");
    assert!(forwarded.starts_with(case.forwarded), "{says:?}: {forwarded}");
}

fn over_h2(client: &mut H2, says: &[(&str, &str)]) -> (serde_json::Value, Option<String>) {
    let request = says.iter().fold(H2::request("GET", "/"), |request, (name, value)| request.header(*name, *value));
    let answer = client.send(request.body(()).unwrap(), &[], None);
    (answer.json(), answer.field("set-cookie").map(str::to_owned))
}

#[test]
fn forwarded_fields_name_one_client_and_one_scheme() {
    let echo = Upstream::echo();
    let proxy = Proxy::with("main", &echo).start(ROUTES);
    let own_port = proxy.address().port().to_string();
    let (mut h1, mut h2) = (proxy.connect(), H2::connect(proxy.address()));
    for case in CASES {
        let lines = lines_of(case);
        let answer = h1.get("/", &lines);
        check(&answer.json(), case, &own_port);
        let (got, cookie) = over_h2(&mut h2, case.says);
        check(&got, case, &own_port);
        // The cookie of a caller with https is Secure.
        let secure = case.proto == "https";
        for cookie in [answer.field("set-cookie"), cookie.as_deref()] {
            assert_eq!(cookie.unwrap().ends_with("; Secure"), secure, "{:?}: {cookie:?}", case.says);
        }
        let away = h1.get("/away", &lines);
        assert_eq!(away.field("location"), Some(format!("{}://test/there", case.proto).as_str()), "{:?}", case.says);
    }
    drop((h1, h2));
    proxy.settles();
    let logged = proxy.logged(3 * CASES.len());
    for case in CASES {
        let count = logged.iter().filter(|line| line["client_ip"] == case.client).count();
        let same = CASES.iter().filter(|other| other.client == case.client).count();
        assert_eq!(count, 3 * same, "{}", case.client);
    }
}

#[test]
fn fields_of_untrusted_peers_are_replaced() {
    let echo = Upstream::echo();
    let proxy = Proxy::with("main", &echo).start(&ROUTES.replace("\"127.0.0.0/8\", ", ""));
    let own_port = proxy.address().port().to_string();
    let (mut h1, mut h2) = (proxy.connect(), H2::connect(proxy.address()));
    for case in CASES {
        let lines = lines_of(case);
        let answer = h1.get("/", &lines);
        check(&answer.json(), &OWN, &own_port);
        let (got, cookie) = over_h2(&mut h2, case.says);
        check(&got, &OWN, &own_port);
        for cookie in [answer.field("set-cookie"), cookie.as_deref()] {
            assert!(!cookie.unwrap().contains("Secure"), "{:?}: {cookie:?}", case.says);
        }
        assert_eq!(h1.get("/away", &lines).field("location"), Some("http://test/there"));
    }
    drop((h1, h2));
    proxy.settles();
    assert!(proxy.logged(3 * CASES.len()).iter().all(|line| line["client_ip"] == "127.0.0.1"));
}

/// A load balancer that ends TLS causes no redirect loop, whichever field it sends.
#[test]
fn a_redirect_to_https_does_not_loop() {
    let echo = Upstream::echo();
    let listener = "\n[[listener]]\nname = \"http\"\naddress = \"127.0.0.1:0\"\n\
        redirect = { to = \"https://{host}{path}\" }\n";
    for (trusted, by_https) in [(true, 200), (false, 308)] {
        let routes = if trusted { ROUTES.to_owned() } else { ROUTES.replace("\"127.0.0.0/8\", ", "") };
        let proxy = Proxy::with("main", &echo).start(&format!("{listener}{routes}"));
        let (mut h1, mut h2) = (proxy.connect(), H2::connect(proxy.address()));
        for (says, status) in [
            (("X-Forwarded-Proto", "https"), by_https),
            (("X-Forwarded-Proto", "HTTPS, http"), by_https),
            (("X-Forwarded-Proto", "https,http"), by_https),
            (("Forwarded", "for=203.0.113.9;proto=https"), by_https),
            (("Forwarded", "proto=\"https\";for=203.0.113.9, for=10.0.0.1;proto=http"), by_https),
            (("X-Forwarded-Proto", "http,https"), 308),
            (("X-Forwarded-Proto", "httpss"), 308),
            (("Forwarded", "for=6.6.6.6;proto=https, for=203.0.113.9;proto=http"), 308),
            (("Forwarded", "for=203.0.113.9"), 308),
            (("X-Other", "1"), 308),
        ] {
            assert_eq!(h1.get("/", &format!("{}: {}\r\n", says.0, says.1)).status, status, "{says:?}");
            let request = H2::request("GET", "/").header(says.0, says.1).body(()).unwrap();
            assert_eq!(h2.send(request, &[], None).status, status, "{says:?} over HTTP/2");
        }
    }
}

#[test]
fn explain_uses_the_fields_of_a_trusted_peer() {
    let echo = Upstream::echo();
    let proxy = Proxy::with("main", &echo).start(ROUTES);
    let mut admin = Raw::connect(proxy.admin());
    for (header, scheme, client) in [
        ("x-forwarded-proto:https,http", "https", "127.0.0.1"),
        ("forwarded:for%3D203.0.113.9%3Bproto%3Dhttps", "https", "203.0.113.9"),
        ("x-forwarded-for:203.0.113.9,,10.0.0.1", "http", "203.0.113.9"),
    ] {
        let (host, ask) = (proxy.admin(), format!("/explain?host=test&path=/away&header={header}"));
        let explained = admin.send(format!("GET {ask} HTTP/1.1\r\nHost: {host}\r\n\r\n")).read_response().text();
        assert!(explained.contains(&format!("{scheme}://test/there")), "{header}: {explained}");
        assert!(explained.contains(client), "{header}: {explained}");
    }
}
