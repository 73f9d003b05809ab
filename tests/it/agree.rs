//! `explain` and routing agree: 100 000 random requests over random files, each decided like a live request and
//! explained. The seed is fixed, and each failure prints the file and the request.

#![expect(clippy::unwrap_used, reason = "a test may fail")]

use std::fmt::Write;
use std::net::IpAddr;

use fastrand::Rng;
use http::{Method, header};
use pointsman::config::load_text;
use pointsman::fields::Fields;
use pointsman::route::{
    Action, Counted, EffectiveConfig, EncodedSlash, ExplainRequest, ExplainedOutcome, Explanation, Facts, NoTrace,
    RequestHead, Routed, Spread, cookie, decide, explain, explain_briefly, normal_host, normal_path,
};
use pointsman::telemetry::explained;

const FILES: u64 = 50;
const REQUESTS_A_FILE: usize = 2_000;
const HOSTS: [&str; 6] = ["a.example.com", "b.example.com", "x.b.example.com", "A.Example.Com:8080", "other.test", ""];
const PATHS: [&str; 12] = [
    "/",
    "/shop",
    "/shop/",
    "/shop/pay",
    "/shop/../admin",
    "/shop/%2e%2e/shop/pay?q=1",
    "/api/v1/x",
    "/t/acme/x",
    "/%73hop/pay",
    "/sho%70/%2E%2e/%61pi/v1/x",
    "/%74/%61cme/x",
    "/%zz",
];
const TENANTS: [&str; 4] = ["acme", "globex", "initech", "umbrella"];

/// One of these.
fn pick<'a>(rng: &mut Rng, words: &[&'a str]) -> &'a str {
    words[rng.usize(..words.len())]
}

/// A random file; always valid.
fn file(rng: &mut Rng) -> String {
    let mut text = String::from(
        "schema = 1\n[[listener]]\naddress = \"127.0.0.1:0\"\n[identity]\ntrusted_proxies = [\"10.0.0.0/8\"]\n\
         tenant = [\"header:x-tenant\", \"path:/t/{tenant}/*\"]\nuser = [\"cookie:uid\", \"query:uid\"]\n\
         [segment.beta]\ntenant = [\"acme\", \"globex\"]\n[segment.staff]\ncidr = [\"192.0.2.0/25\"]\n\
         [upstream.v1]\nendpoints = [\"http://127.0.0.1:1\"]\n[upstream.v2]\nendpoints = [\"http://127.0.0.1:2\"]\n\
         [upstream.v3]\nendpoints = [\"http://127.0.0.1:3\"]\n",
    );
    let killed: Vec<&str> = TENANTS.into_iter().filter(|_| rng.u8(..8) == 0).collect();
    let arm = if rng.u8(..4) == 0 { "[\"r0:b\"]" } else { "[]" };
    let _ = writeln!(text, "[kill]\nall = {}\ntenants = {killed:?}\nvariants = {arm}", rng.u8(..12) == 0);
    let matches = [
        "{ host = \"a.example.com\", path = \"/shop/*\" }",
        "{ host = \"*.example.com\", path = \"/shop\" }",
        "{ host = \"b.example.com\", header = { x-api = \"2\" } }",
        "{ path = { regex = \"/api/v[0-9]+/.*\" }, methods = [\"GET\"] }",
        "{ path = \"/t/*\" }",
        "{ path = \"/*\" }",
    ];
    for (number, matched) in matches.iter().enumerate() {
        let sticky = pick(rng, &["[]", "[\"user\"]", "[\"tenant\", \"user\"]", "[\"client_ip\"]"]);
        let _ =
            writeln!(text, "[[route]]\nname = \"r{number}\"\nmatch = {matched}\nstable = \"v1\"\nsticky = {sticky}");
        if rng.bool() {
            text.push_str("sticky_cookie = \"pm_id\"\n");
        }
        let first = pick(rng, &["0", "0.01", "5", "50", "100"]);
        let rest = if first == "100" { "0" } else { pick(rng, &["0", "12.5", "50"]) };
        for (name, upstream, weight) in [("b", "v2", first), ("c", "v3", rest)] {
            let _ =
                writeln!(text, "[[route.variant]]\nname = \"{name}\"\nupstream = \"{upstream}\"\nweight = {weight}");
        }
        for _ in 0..rng.u8(..4) {
            let predicate = pick(
                rng,
                &[
                    "segment = \"beta\"",
                    "segment = \"staff\"",
                    "header = { x-canary = \"always\" }",
                    "cookie = { preview = { present = true } }",
                    "segment = \"beta\"\nweight = 50",
                ],
            );
            let serve = pick(rng, &["stable", "b", "c"]);
            let _ = writeln!(text, "[[route.target]]\n{predicate}\nserve = \"{serve}\"");
        }
    }
    text
}

/// A random request: method, host, path and query, fields, peer.
fn request(rng: &mut Rng) -> (Method, &'static str, &'static str, Fields, IpAddr) {
    let method = if rng.u8(..4) == 0 { Method::POST } else { Method::GET };
    let mut fields = Fields::new();
    let mut add = |rng: &mut Rng, name: header::HeaderName, value: String| {
        if rng.bool() {
            fields.append(&name, &value.parse().unwrap());
        }
    };
    let number = rng.u32(..);
    add(rng, header::COOKIE, format!("uid=u{number}"));
    add(rng, header::COOKIE, format!("pm_id={number:032x}; preview=1"));
    let tenant = pick(rng, &TENANTS).to_owned();
    add(rng, header::HeaderName::from_static("x-tenant"), tenant);
    add(rng, header::HeaderName::from_static("x-api"), "2".to_owned());
    add(rng, header::HeaderName::from_static("x-forwarded-for"), format!("192.0.2.{}", number % 256));
    if number.is_multiple_of(16) {
        add(rng, header::HeaderName::from_static("x-canary"), "always".to_owned());
    }
    let peer = if rng.bool() { [10, 0, 0, 1] } else { [192, 0, 2, rng.u8(..)] };
    (method, pick(rng, &HOSTS), pick(rng, &PATHS), fields, IpAddr::from(peer))
}

/// The decision of live traffic: normal form, index, caller, cookie, decision. In the format of [`explained_as`].
fn routed(config: EffectiveConfig<'_>, asked: &ExplainRequest<'_>) -> String {
    let EffectiveConfig { rules, overlay } = config;
    let (path, query) = match asked.path_and_query.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (asked.path_and_query, None),
    };
    let host = if asked.host.is_empty() { Some("".into()) } else { normal_host(asked.host) };
    let (Some(host), Ok(path)) = (host, normal_path(path, asked.encoded_slash)) else { return "refused".to_owned() };
    let head = RequestHead {
        method: asked.method,
        host: &host,
        path: &path,
        query,
        fields: asked.fields,
        client_cert: None,
        listener: asked.listener,
    };
    let Some(found) = rules.index.find(&rules.routes, &head) else { return "no route".to_owned() };
    let route = rules.route(found.route);
    let Action::Split(split) = &route.action else { return route.name.clone() };
    let caller = rules.identity.caller(asked.peer, &head, asked.facts);
    let cookie_identity = split.sticky_cookie.as_deref().and_then(|name| cookie(asked.fields, name));
    let request = Routed { route: found.route, split, head: &head, caller: &caller, cookie_identity };
    let decision = decide(rules, overlay, &request, &mut Spread::default(), &mut NoTrace);
    let variant = &split.variants[usize::from(decision.variant.0)];
    let upstream = &rules.upstreams[variant.upstream.0 as usize].name;
    // Without a sticky key the bucket is random.
    let bucket = decision.bucket.filter(|_| !split.spreads()).map(pointsman::route::Bucket::number);
    let (reason, counted) = (decision.reason.name(), decision.counted == Counted::Yes);
    format!("{} {} {upstream} {reason} {bucket:?} {counted} {}", route.name, variant.name, decision.unkeyed)
}

fn explained_as(explanation: &Explanation) -> String {
    match &explanation.outcome {
        ExplainedOutcome::Refused(_) => "refused".to_owned(),
        ExplainedOutcome::NoRoute => "no route".to_owned(),
        ExplainedOutcome::Redirect(..) | ExplainedOutcome::Respond(_) => {
            explanation.route.as_ref().unwrap().name.clone()
        }
        ExplainedOutcome::Serve(served) => {
            let decision = &served.decision;
            let bucket = decision.bucket.map(pointsman::route::Bucket::number);
            let (reason, counted) = (decision.reason.name(), decision.counted == Counted::Yes);
            let route = &explanation.route.as_ref().unwrap().name;
            let (variant, upstream) = (&served.variant, &served.upstream);
            format!("{route} {variant} {upstream} {reason} {bucket:?} {counted} {}", decision.unkeyed)
        }
    }
}

/// All spellings of a path are one path: for routing, for `explain`, and for the identity of the caller.
#[test]
fn needless_escapes_change_nothing() {
    for seed in 0..FILES {
        let text = file(&mut Rng::with_seed(seed));
        let loaded = load_text("routes.toml", &text, &|_| None).unwrap_or_else(|bad| panic!("{bad}\n{text}"));
        let config = loaded.effective();
        for (plain, escaped) in [
            ("/shop/pay", "/%73hop/%70a%79"),
            ("/shop", "/x/%2e%2E/sh%6fp"),
            ("/api/v1/x", "/api/%76%31/x"),
            ("/t/acme/x", "/%74/%61cme/x"),
        ] {
            let fields = Fields::new();
            let of = |path_and_query| {
                let asked = ExplainRequest {
                    method: &Method::GET,
                    host: "a.example.com",
                    path_and_query,
                    fields: &fields,
                    peer: IpAddr::from([192, 0, 2, 1]),
                    client_cert: None,
                    listener: "edge",
                    scheme: "http",
                    encoded_slash: EncodedSlash::Keep,
                    facts: Facts::default(),
                };
                let explanation = explain(config, &asked);
                (
                    routed(config, &asked),
                    explained_as(&explanation),
                    explanation.path.clone(),
                    explanation.tenant.clone(),
                )
            };
            assert_eq!(of(plain), of(escaped), "seed {seed}, {escaped}\n{text}");
        }
    }
}

#[test]
fn explain_and_routing_agree() {
    let mut seen = std::collections::BTreeMap::<String, usize>::new();
    for seed in 0..FILES {
        let mut rng = Rng::with_seed(seed);
        let text = file(&mut rng);
        let loaded = load_text("routes.toml", &text, &|_| None).unwrap_or_else(|bad| panic!("{bad}\n{text}"));
        let config = loaded.effective();
        for number in 0..REQUESTS_A_FILE {
            let (method, host, path_and_query, fields, peer) = request(&mut rng);
            let (method, fields) = (&method, &fields);
            let asked = ExplainRequest {
                method,
                host,
                path_and_query,
                fields,
                peer,
                client_cert: None,
                listener: "edge",
                scheme: "http",
                encoded_slash: EncodedSlash::Keep,
                facts: Facts::default(),
            };
            // The full explanation adds the routes that nearly matched, and nothing else.
            let explanation =
                if number.is_multiple_of(50) { explain(config, &asked) } else { explain_briefly(config, &asked) };
            let routed = routed(config, &asked);
            assert_eq!(explained_as(&explanation), routed, "seed {seed}, {asked:?}\n{text}");
            // Without a sticky key there are shares instead of a bucket, and the variant has one of them.
            if let ExplainedOutcome::Serve(served) = &explanation.outcome
                && !served.per_request.is_empty()
            {
                assert!(served.decision.bucket.is_none() && explanation.steps.iter().all(|step| step.bucket.is_none()));
                assert!(
                    served.per_request.iter().any(|(name, _)| *name == served.variant),
                    "seed {seed}, {asked:?}\n{explanation}"
                );
                assert_eq!(served.per_request.iter().map(|(_, share)| share.millionths()).sum::<u32>(), 1_000_000);
            }
            // The last step with figures decided: its bucket is in its range, or outside it only if a target's weight
            // left the caller on stable.
            if let ExplainedOutcome::Serve(served) = &explanation.outcome
                && let Some(bucket) = served.decision.bucket
            {
                let step = explanation.steps.iter().rev().find(|step| step.bucket.is_some()).unwrap();
                assert_eq!(step.bucket, Some(bucket.number()));
                let inside = step.range.as_ref().unwrap().contains(&bucket.number());
                assert!(inside || served.variant == "stable", "seed {seed}, {asked:?}\n{explanation}");
                if number.is_multiple_of(50) {
                    let json = explained(config, &asked);
                    assert_eq!(json["variant"].as_str(), Some(&*served.variant));
                    assert_eq!(json["bucket"].as_u64(), step.bucket.map(u64::from));
                }
            }
            *seen.entry(routed.split(' ').nth(3).unwrap_or(&routed).to_owned()).or_default() += 1;
        }
    }
    // The files and requests are varied enough.
    for reason in ["kill", "target", "weight", "stable", "refused"] {
        assert!(seen.get(reason).is_some_and(|times| *times > 1_000), "{reason}: {seen:?}");
    }
}
