//! The report about a shadow: on `/shadow`, and by `pointsman compare`, which reads that page.

use serde_json::{Value, json};

use super::{COMPARED, Figures, SHADOWED, setup};
use crate::harness::{Proxy, Raw, RefusingAddress, Upstream, until};
use crate::process::finish;

/// The text of `/shadow`.
#[track_caller]
fn fetched(proxy: &Proxy) -> String {
    let mut admin = Raw::connect(proxy.admin());
    let head = format!("GET /shadow HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", proxy.admin());
    admin.send(head).read_response().text()
}

#[track_caller]
fn page(proxy: &Proxy) -> Value {
    serde_json::from_str(&fetched(proxy)).unwrap()
}

/// The output of `compare`, as a table and in Markdown.
#[track_caller]
fn printed(proxy: &Proxy) -> [String; 2] {
    let (anywhere, admin) = (std::env::temp_dir(), proxy.admin().to_string());
    ["table", "md"].map(|format| {
        let finished = finish(&anywhere, &["compare", "--admin", &admin, "--format", format]);
        assert_eq!(finished.code, 0, "{}", finished.stderr);
        finished.stdout
    })
}

#[test]
fn the_effective_share_and_a_kill_are_reported() {
    let (main, gone) = (Upstream::echo(), RefusingAddress::new());
    let text = SHADOWED.replace("{dark}", &gone.address().to_string());
    let proxy = Proxy::with("main", &main).place("scheme", "http").start(&text);
    let route = |page: &Value| page["routes"][0].clone();
    let first = page(&proxy);
    assert_eq!((&first["kill_all"], &route(&first)["weight_actual"]), (&json!(false), &json!(100.0)), "{first}");
    assert_eq!(route(&first)["compares"], json!(false));
    let mut client = proxy.connect();
    let held_back = until("the share falls", || {
        assert_eq!(client.get("/", "").status, 200);
        let route = route(&page(&proxy));
        (route["weight_actual"].as_f64().unwrap() < 100.0).then_some(route)
    });
    assert_eq!(held_back["weight"], json!(100.0));
    for said in printed(&proxy) {
        assert!(said.contains("100 % of the requests set, ") && said.contains(" % now"), "{said}");
        assert!(said.contains("no `[route.shadow.compare]`"), "{said}");
    }
    proxy.rewrite(&format!("[kill]\nall = true\n{text}{COMPARED}"));
    let killed = page(&proxy);
    assert_eq!((&killed["kill_all"], &route(&killed)["weight_actual"]), (&json!(true), &json!(0.0)), "{killed}");
    for said in printed(&proxy) {
        assert!(said.contains("none now: `kill.all` is set") && said.contains("none yet"), "{said}");
    }
    proxy.rewrite(&format!("[kill]\nshadows = \"all\"\n{text}{COMPARED}"));
    let killed = route(&page(&proxy));
    assert_eq!((&killed["killed_by"], &killed["weight_actual"]), (&json!("shadow"), &json!(0.0)), "{killed}");
    for said in printed(&proxy) {
        assert!(said.contains("none now: the shadow is killed"), "{said}");
    }
}

#[test]
fn shadow_responses_cannot_break_the_report() {
    const ANSWERS: u64 = 20;
    let dark = Upstream::script(|mut conn| {
        while let Ok(got) = conn.request() {
            let number: u8 = got.field("x-number").unwrap().parse().unwrap();
            let name = format!("x-{}{}", char::from(b'a' + number), "n".repeat(30_000));
            let body = "{\"\\u001b]0;pwned\\u0007k\":1,\"users\":{\"ana-meier\":\"\u{9b}2J\"}}";
            let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nSet-Cookie: SECRET";
            if !conn.send(format!("{head}\r\n{name}: 1\r\nContent-Length: {}\r\n\r\n{body}", body.len())) {
                return;
            }
        }
    });
    let main = Upstream::answering(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 12\r\n\r\n{\"users\":{}}",
    );
    let compare = "[route.shadow.compare]\ncontrol = 100\nredact = [\"$.users\"]\n";
    let proxy = setup(&main, &dark).start(&format!("{SHADOWED}{compare}"));
    let mut client = proxy.connect();
    for number in 0..ANSWERS {
        assert_eq!(client.get("/", &format!("x-number: {number}\r\n")).text(), "{\"users\":{}}");
        // One after the other, so that permits are free.
        until("its copy", || (dark.requests() > number).then_some(()));
    }
    Figures::settled(&proxy, 20);
    let page = until("all are compared", || {
        let page = page(&proxy);
        (page["routes"][0]["comparison"]["compared"] == ANSWERS).then_some(page)
    });
    let paths: Vec<&str> = page["routes"][0]["comparison"]["fields"]
        .as_array()
        .unwrap()
        .iter()
        .map(|field| field["path"].as_str().unwrap())
        .collect();
    assert!(paths.contains(&"$.users") && paths.contains(&"$[\"\\u{1b}]0;pwned\\u{7}k\"]"), "{paths:?}");
    let names: Vec<_> = paths.iter().filter(|path| path.starts_with("header:x-")).collect();
    assert!(names.len() == 20 && names.iter().all(|name| name.len() <= 72 && name.ends_with('*')), "{names:?}");
    let all = [fetched(&proxy)].into_iter().chain(printed(&proxy));
    for said in all {
        assert!(said.contains("pwned") && !said.contains("ana-meier") && !said.contains("SECRET"), "{said}");
        assert!(!said.contains(|letter: char| letter.is_control() && letter != '\n'), "{said:?}");
    }
}
