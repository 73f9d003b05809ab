//! The dashboard over sockets: its pages, who sees what, bad addresses, and many routes.

use pointsman::clock::Clock;
use std::fmt::Write as _;

use crate::api::{Reply, SHOP, all_tokens, bearer, call, over_socket, over_tcp};
use crate::harness::Proxy;

const PAGES: [&str; 9] =
    ["/", "/routes", "/routes/shop", "/upstreams", "/shadows", "/experiments", "/config", "/journal", "/kills"];

fn page(proxy: &Proxy, path: &str, lines: &str) -> Reply {
    over_tcp(proxy, &call("GET", path, &format!("Accept: text/html,application/xhtml+xml\r\n{lines}"), ""))
}

fn is_page(reply: &Reply) -> bool {
    reply.head.contains("content-type: text/html; charset=utf-8") && reply.body.starts_with("<!DOCTYPE html>")
}

#[test]
fn every_page_is_html_that_loads_nothing_from_elsewhere() {
    let proxy = Proxy::start(SHOP);
    for path in PAGES {
        let reply = page(&proxy, path, "");
        assert_eq!(reply.status, 200, "{path}: {reply:?}");
        assert!(is_page(&reply), "{path}: {}", reply.head);
        assert!(reply.head.contains("require-trusted-types-for 'script'; trusted-types pointsman"), "{}", reply.head);
        for foreign in ["src=\"http", "href=\"http", "src=\"//", "href=\"//", " style=", " onclick=", "<script>"] {
            assert!(!reply.body.contains(foreign), "{path} has {foreign}: {}", reply.body);
        }
    }
    let plain = over_tcp(&proxy, &call("GET", "/", "", ""));
    assert!(plain.head.contains("text/plain") && plain.body.contains("/v1/status"), "commands get the list: {plain:?}");
    for (asset, media) in [("/assets/dashboard.css", "text/css"), ("/assets/dashboard.js", "text/javascript")] {
        let reply = over_tcp(&proxy, &call("GET", asset, "", ""));
        assert!(reply.status == 200 && reply.head.contains(media) && !reply.body.is_empty(), "{asset}: {}", reply.head);
    }
}

#[test]
fn a_page_that_the_browser_has_is_not_sent_again() {
    let proxy = Proxy::start(SHOP);
    let first = page(&proxy, "/kills", "");
    let etag = first.head.lines().find_map(|line| line.strip_prefix("etag: ")).expect("a tag").trim().to_owned();
    let again = page(&proxy, "/kills", &format!("If-None-Match: {etag}\r\n"));
    assert_eq!((again.status, again.body.as_str()), (304, ""), "{again:?}");
    let kill = over_socket(&proxy, &call("POST", "/v1/kill", "", r#"{"route": "shop", "reason": "a <b>test</b>"}"#));
    assert_eq!(kill.status, 200, "{kill:?}");
    let new = page(&proxy, "/kills", &format!("If-None-Match: {etag}\r\n"));
    assert_eq!(new.status, 200, "{new:?}");
    assert!(new.body.contains("a &lt;b&gt;test&lt;/b&gt;") && !new.body.contains("<b>test"), "{}", new.body);
}

#[test]
fn the_buttons_are_those_of_the_viewer_and_without_a_token_there_is_a_way_to_sign_in() {
    let admin = "[admin]\naddress = \"127.0.0.1:0\"\ntokens = \"tokens.toml\"\n";
    let proxy = Proxy::workers(1).file("tokens.toml", &all_tokens()).start(&format!("{admin}{SHOP}"));
    let refused = page(&proxy, "/routes?filter=a", "");
    assert_eq!(refused.status, 303, "{refused:?}");
    assert!(is_page(&refused) && refused.head.contains("location: /sign-in?to=/routes%3Ffilter%3Da"), "{refused:?}");
    assert!(!refused.body.contains("shop"), "nothing of the configuration: {}", refused.body);
    let sign_in = page(&proxy, "/sign-in", "");
    assert!(sign_in.status == 200 && sign_in.body.contains("name=\"token\""), "{sign_in:?}");
    let viewer = page(&proxy, "/config", &bearer("viewer"));
    let operator = page(&proxy, "/config", &bearer("operator"));
    assert!(!viewer.body.contains("data-act=") && !viewer.body.contains("id=\"kill-open\""), "{}", viewer.body);
    assert!(operator.body.contains("data-act=") && operator.body.contains("id=\"kill-open\""), "{}", operator.body);
    let commands = over_tcp(&proxy, &call("GET", "/", "", ""));
    assert!(commands.status == 401 && commands.head.contains("text/plain"), "{commands:?}");
}

#[test]
fn bad_addresses_are_refused_in_words_and_stay_text() {
    let proxy = Proxy::start(SHOP);
    let long = "a".repeat(4_096);
    let markup = "%3Cimg%20src%3Dx%20onerror%3Dalert(1)%3E";
    let paths = [
        (format!("/routes/{markup}"), 404),
        (format!("/rollouts/{markup}"), 404),
        (format!("/routes/{long}"), 400),
        (format!("/rollouts/{long}"), 400),
        (format!("/routes?filter={markup}"), 200),
        (format!("/routes?filter={long}"), 400),
        ("/routes?filter=%ff".to_owned(), 400),
        ("/routes?from=x".to_owned(), 400),
        ("/routes?from=99999999".to_owned(), 200),
        (format!("/journal?text={markup}&act={markup}"), 200),
        ("/journal?before=-1".to_owned(), 400),
        ("/journal?before=1&before=2".to_owned(), 400),
        ("/journal?before=0".to_owned(), 200),
        (format!("/sign-in?to={markup}"), 200),
        ("/sign-in?to=//evil.example".to_owned(), 200),
        ("/upstreams?unknown=1".to_owned(), 200),
        ("/no-such-page".to_owned(), 404),
    ];
    for (path, status) in paths {
        let reply = page(&proxy, &path, "");
        let shown: String = path.chars().take(60).collect();
        assert_eq!(reply.status, status, "{shown}: {reply:?}");
        assert!(!reply.body.contains("<img") && !reply.body.contains("//evil.example"), "{shown}: {}", reply.body);
    }
    let csv = page(&proxy, "/journal.csv", "");
    assert!(csv.status == 200 && csv.head.contains("text/csv") && csv.body.starts_with("seq,"), "{csv:?}");
}

#[test]
fn an_ordinary_machine_shows_two_thousand_routes_in_no_time() {
    let mut file = String::from("[upstream.v1]\nendpoints = [\"http://127.0.0.1:1\"]\n");
    for route in 0..2_000 {
        let _ = write!(
            file,
            "[[route]]\nname = \"r{route}\"\nmatch = {{ path = \"/r{route}/*\" }}\nsticky = [\"client_ip\"]\n\
             stable = \"v1\"\ncanary = {{ upstream = \"v1\", weight = 5 }}\n"
        );
    }
    let proxy = Proxy::workers(1).start(&file);
    for path in ["/", "/routes"] {
        let begin = Clock.now();
        let reply = page(&proxy, path, "");
        assert!(reply.status == 200 && reply.body.len() < 4 << 20, "{path}: {} bytes", reply.body.len());
        // A debug build on a busy machine: the figure of the release build is measured by the script of the dashboard.
        assert!(Clock.now().duration_since(begin).as_secs() < 30, "{path}");
    }
    let filtered = page(&proxy, "/routes?filter=r1999", "");
    assert!(filtered.body.contains("r1999") && !filtered.body.contains("r1998<"), "{}", filtered.body);
}
