//! Access rules: targets that respond. Who is closed out stays so, whatever kills and weights say.

use crate::api::{call, over_socket};
use crate::harness::{Proxy, Raw, Upstream, until};

/// Office and staff may enter, others of 192.0.2.0/24 and XX may not; everybody else may.
const CLOSED: &str = r#"
[identity]
trusted_proxies = ["127.0.0.0/8"]
tenant = ["header:x-tenant"]
[segment.office]
cidr = ["192.0.2.64/26"]
[upstream.main]
endpoints = ["http://{main}"]
[upstream.v2]
endpoints = ["http://{canary}"]
[[route]]
name = "shop"
match = { path = "/shop/*" }
stable = "main"
sticky = ["client_ip"]
canary = { upstream = "v2", weight = 100 }
headers = { response = { set = { x-edge = "yes" } } }
[[route.rate_limit]]
per = "route"
rate = "1/h"
burst = 3
[[route.target]]
segment = "office"
serve = "canary"
[[route.target]]
cidr = ["192.0.2.0/24"]
respond = { status = 403, body = "internal\n" }
[[route.target]]
tenant = ["evil"]
respond = { status = 451 }

[[route]]
name = "moved"
match = { path = "/moved" }
redirect = { to = "https://x.test/" }
[[route.target]]
cidr = ["192.0.2.0/24"]
respond = { status = 403 }

[[route]]
name = "fixed"
match = { path = "/fixed" }
respond = { status = 200, body = "ok" }
[[route.target]]
cidr = ["192.0.2.0/24"]
respond = { status = 403 }
"#;

fn status(client: &mut Raw, path: &str, ip: &str) -> u16 {
    client.get(path, &format!("X-Forwarded-For: {ip}\r\n")).status
}

#[test]
fn the_first_rule_that_fits_answers_and_takes_no_token() {
    let (main, canary) = (Upstream::echo(), Upstream::echo());
    let proxy = Proxy::with("main", &main).with("canary", &canary).start(CLOSED);
    let mut client = proxy.connect();
    for _ in 0..5 {
        let closed = client.get("/shop/a", "X-Forwarded-For: 192.0.2.1\r\n");
        assert_eq!((closed.status, &*closed.text(), closed.field("x-edge")), (403, "internal\n", Some("yes")));
        assert_eq!(client.get("/shop/a", "X-Forwarded-For: 198.51.100.1\r\nX-Tenant: evil\r\n").status, 451);
    }
    let statuses = ["192.0.2.70", "198.51.100.1", "198.51.100.2", "198.51.100.3"];
    assert_eq!(statuses.map(|ip| status(&mut client, "/shop/a", ip)), [200, 200, 200, 429]);
    assert_eq!(status(&mut client, "/shop/a", "192.0.2.1"), 403, "closed also where the limit is reached");
    for path in ["/moved", "/fixed"] {
        let open = if path == "/moved" { 308 } else { 200 };
        let both = ["192.0.2.1", "198.51.100.1"].map(|ip| status(&mut client, path, ip));
        assert_eq!(both, [403, open], "{path}");
    }
    assert_eq!(main.requests() + canary.requests(), 3);
    drop(client);
    proxy.settles();
    assert_eq!(proxy.metric("pointsman_denied_total{route=\"shop\"}"), 11.0);
    assert_eq!(proxy.metric("pointsman_denied_total{route=\"moved\"}"), 1.0);
    let line = &proxy.logged(19)[0];
    assert_eq!((line["detail"].as_str(), line["termination"].as_str()), (Some("access"), Some("--")), "{line}");
    let rule = line["rule"].as_str().unwrap();
    let (file, number) = rule.rsplit_once(':').unwrap();
    let text = std::fs::read_to_string(proxy.dir().join("routes.toml")).unwrap();
    let place = text.lines().nth(number.parse::<usize>().unwrap() - 1).unwrap();
    assert!(file.ends_with("routes.toml") && place.contains("[[route.target]]"), "{rule}: {place}");
    assert!(line.get("variant").is_none(), "{line}");
}

#[test]
fn a_kill_opens_nothing() {
    let (main, canary) = (Upstream::echo().named("main"), Upstream::echo().named("canary"));
    let proxy = Proxy::with("main", &main).with("canary", &canary).start(CLOSED);
    let mut client = proxy.connect();
    assert_eq!(client.get("/shop/a", "X-Forwarded-For: 192.0.2.70\r\n").json()["name"], "canary");
    let killed = over_socket(&proxy, &call("POST", "/v1/kill", "", "{\"all\":true,\"reason\":\"a test\"}"));
    assert_eq!(killed.status, 200, "{}", killed.body);
    assert_eq!(status(&mut client, "/shop/a", "192.0.2.1"), 403);
    let served = client.get("/shop/a", "X-Forwarded-For: 192.0.2.70\r\n");
    assert_eq!((served.status, served.json()["name"].as_str()), (200, Some("main")), "who may enter gets stable");
}

#[test]
fn a_reload_opens_and_closes() {
    let echo = Upstream::echo();
    let proxy = Proxy::with("main", &echo).with("canary", &echo).start(CLOSED);
    let mut client = proxy.connect();
    assert_eq!(status(&mut client, "/fixed", "192.0.2.1"), 403);
    proxy.rewrite(&CLOSED.replace("192.0.2.0/24", "198.51.100.0/24"));
    assert_eq!(status(&mut client, "/fixed", "192.0.2.1"), 200);
    assert_eq!(status(&mut client, "/fixed", "198.51.100.9"), 403);
    until("the log has all", || (proxy.log_lines().len() >= 3).then_some(()));
}
