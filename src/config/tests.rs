//! Tests of whole loads: the shipped example, valid values, files on the disk.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::*;
use crate::route::*;

const HEAD: &str = "schema = 1\n[[listener]]\naddress = '127.0.0.1:0'\n[upstream.a]\nendpoints = 'http://10.0.0.1'\n[upstream.b]\nendpoints = 'http://10.0.0.2'\n";
const SHIPPED: &str = include_str!("../../routes.toml");

fn env(name: &str) -> Option<String> {
    match name {
        "HOST" => Some("shop.example.com".to_owned()),
        "EMPTY" => Some(String::new()),
        _ => None,
    }
}

fn good(text: &str) -> Loaded {
    match load_text("routes.toml", text, &env) {
        Ok(loaded) => loaded,
        Err(diagnostics) => panic!("{diagnostics}"),
    }
}

/// The rules of a text; a listener and the upstreams `a` and `b` are added.
fn rules(text: &str) -> Rules {
    good(&format!("{HEAD}{text}")).rules
}

/// The split of a route, and its weights.
fn split(text: &str) -> (Split, SplitState) {
    let loaded = good(&format!("{HEAD}[[route]]\nname = 'r'\nstable = 'a'\n{text}"));
    let state = loaded.overlay.split(RouteId(0)).clone();
    (loaded.rules.routes[0].split().unwrap().clone(), state)
}

#[test]
fn the_shipped_example_is_valid() {
    let loaded = good(SHIPPED);
    assert!(loaded.warnings.is_empty(), "{}", loaded.warnings);
    assert_eq!(loaded.tests.len(), 9);
    let failed = run_route_tests(&loaded);
    assert!(failed.failed == 0 && failed.diagnostics.is_empty(), "{failed}");
    assert_eq!(loaded.rules.listeners[0].address, "127.0.0.1:8080".parse().unwrap());
    assert_eq!(loaded.rules.admin.addresses, ["127.0.0.1:9900".parse().unwrap()]);
}

#[test]
fn the_smallest_file_has_all_defaults() {
    let loaded = good("schema = 1\n[[listener]]\naddress = ':8080'\n");
    let rules = loaded.rules;
    assert_eq!(rules.listeners[0].name, ":8080");
    assert_eq!(rules.listeners[0].address, "0.0.0.0:8080".parse().unwrap());
    assert_eq!(rules.listeners[0].limits, Limits::default());
    assert_eq!(rules.admin.addresses, ["127.0.0.1:9900".parse().unwrap()]);
    assert_eq!(rules.state.dir, Path::new("state"));
    assert_eq!(rules.admin.socket.as_deref(), Some(Path::new("state/run/admin.sock")));
    assert_eq!(rules.access_log, AccessLog::default());
    assert!(rules.routes.is_empty() && *loaded.overlay.kill() == Kill::default());
    assert_eq!(loaded.watched, Vec::<PathBuf>::new());
}

#[test]
fn listeners_and_limits() {
    let text = "schema = 1\n[[listener]]\nname = 'x'\naddress = '[::1]:80'\n[listener.limits]\nconnections = 5\nheader_bytes = '64KiB'\n\
                idle_timeout = '1m'\nencoded_slash = 'reject'\nbody_rate = 0\n";
    let listener = good(text).rules.listeners.remove(0);
    let limits = Limits {
        connections: 5,
        header_bytes: 65_536,
        idle_timeout: Duration::from_mins(1),
        encoded_slash: EncodedSlash::Reject,
        body_rate: 0,
        ..Limits::default()
    };
    assert_eq!(
        listener,
        ListenerSpec {
            name: "x".into(),
            address: "[::1]:80".parse().unwrap(),
            limits,
            proxy_senders: Vec::new(),
            tls: None,
            redirect: None
        }
    );
}

#[test]
fn upstreams() {
    let text = "[upstream.c]\nendpoints = ['h2c://Grpc.internal:50051', { url = 'http://[::1]', weight = 3 }]\nrevision = '7'\n\
                balance = 'hash'\nconnect_timeout = '250ms'\nlimits = { connections = 1, response_headers = 300 }\n";
    let upstream = rules(text).upstreams.remove(2);
    let spec =
        |protocol, host, port, weight| EndpointSpec { protocol, host, port, weight, role: EndpointRole::Primary };
    let expected = Upstream {
        name: "c".into(),
        revision: Some("7".into()),
        endpoints: vec![
            spec(Protocol::H2c, EndpointHost::Name("grpc.internal".into()), 50_051, 1),
            spec(Protocol::Http1, EndpointHost::Ip("::1".parse().unwrap()), 80, 3),
        ],
        balance: Balance::Hash,
        connect_timeout: Duration::from_millis(250),
        limits: UpstreamLimits { connections: 1, response_headers: 300, ..UpstreamLimits::default() },
        slow_start: Duration::ZERO,
        outlier: OutlierSettings::default(),
        health: None,
        retry_budget: RetryBudgetSettings::default(),
        proxy_protocol: None,
        tls: None,
    };
    assert_eq!(upstream, expected);
}

#[test]
fn upstreams_and_segments_keep_the_order_of_the_file() {
    let rules = rules("[upstream.0]\nendpoints = 'http://c'\n[segment.z]\nuser = 'u'\n[segment.y]\nuser = 'u'\n");
    assert_eq!(rules.upstreams.iter().map(|u| &*u.name).collect::<Vec<_>>(), ["a", "b", "0"]);
    assert_eq!(rules.segments.iter().map(|s| &*s.name).collect::<Vec<_>>(), ["z", "y"]);
}

#[test]
fn variants_own_their_buckets_in_file_order() {
    let (split, state) = split(
        "sticky = ['tenant', 'user', 'client_ip']\ncanary = { upstream = 'b', weight = 0.0001 }\n\
         [[route.variant]]\nname = 'c'\nupstream = 'a'\nweight = 33.3333\n[[route.variant]]\nname = 'd'\nupstream = 'b'\n",
    );
    let arms = split.variants.iter().zip(state.arms());
    let found: Vec<_> = arms.map(|(v, arm)| (&*v.name, v.upstream.0, arm.start, arm.weight.millionths())).collect();
    assert_eq!(
        found,
        [("stable", 0, 333_334, 666_666), ("canary", 1, 0, 1), ("c", 0, 1, 333_333), ("d", 1, 333_334, 0)]
    );
    assert_eq!(split.sticky, [StickyKey::Tenant, StickyKey::User, StickyKey::ClientIp]);
    assert_eq!(split.salt, Salt::new("r"));
}

#[test]
fn weights_may_add_up_to_a_hundred() {
    let (split, state) = split("sticky = 'user'\nsalt = 's'\ncanary = { upstream = 'b', weight = 100.0 }\n");
    assert_eq!(state.arms()[0].weight, Weight::ZERO);
    assert_eq!(state.arms()[1].weight, Weight::FULL);
    assert_eq!(split.salt, Salt::new("s"));
}

#[test]
fn targets_have_their_place_variant_and_salt() {
    let rules = rules(
        "[segment.s]\nuser = 'u'\n[[route]]\nname = 'r'\nstable = 'a'\ncanary = { upstream = 'b' }\n\
         [[route.target]]\nsegment = 's'\nserve = 'canary'\nweight = 50\n\
         [[route.target]]\ntenant = ['x', 'y']\ncidr = '10.0.0.0/8'\nserve = 'stable'\n",
    );
    let targets = &rules.routes[0].split().unwrap().targets;
    assert_eq!((targets[0].serve, targets[0].segment), (VariantId(1), Some(SegmentId(0))));
    assert_eq!(targets[0].weight, Some((Weight::from_millionths(500_000).unwrap(), Salt::target("r", "s"))));
    let place = SourceLocation { file: "routes.toml".into(), line: 14 };
    assert_eq!(rules.routes[0].place_of(targets[0].line), place);
    assert_eq!((targets[1].serve, targets[1].predicates.len()), (VariantId::STABLE, 2));
    assert_eq!(rules.routes[0].place.line, 10);
}

#[test]
fn matches() {
    let rules = rules(
        "[[route]]\nname = 'r'\nstable = 'a'\npriority = -3\n[route.match]\nhost = ['Shop.example.com.', '*.Example.com', '[::1]']\n\
         path = ['/x', '/y/*', '/*', '/', { regex = '/z[0-9]+' }]\nmethods = 'GET'\nheader = { X-A = ['1', { prefix = '2' }] }\n\
         cookie = { c = { present = true } }\nquery = { q = { regex = '^a' } }\n",
    );
    let matches = &rules.routes[0].matches;
    let exact = |host: &str| HostPattern::Exact(host.into());
    assert_eq!(
        matches.hosts,
        [exact("shop.example.com"), HostPattern::Wildcard(".example.com".into()), exact("[::1]")]
    );
    let paths: Vec<_> = matches.paths.iter().map(ToString::to_string).collect();
    assert_eq!(paths, ["/x", "/y/*", "/*", "/", "regex /z[0-9]+"]);
    assert!(matches!(&matches.paths[2], PathPattern::Prefix(prefix) if prefix.is_empty()));
    assert_eq!((matches.methods.as_slice(), matches.priority), (&[http::Method::GET][..], -3));
    assert!(matches!(&matches.predicates[0], Predicate::Any(all) if all.len() == 2));
    assert!(matches!(&matches.predicates[1], Predicate::Cookie(name, StringMatch::Present(true)) if name == "c"));
}

#[test]
fn zero_means_no_timeout() {
    let text = "[[route]]\nname = 'r'\nstable = 'a'\ntimeout = { request = '0s' }\nlimits = { body = '1KiB' }\n";
    let route = rules(text).routes.remove(0);
    assert_eq!(route.timeouts, Timeouts { request: None, idle: Some(Duration::from_mins(1)), per_try: None });
    assert_eq!(route.limits.body_bytes, Some(1024));
}

#[test]
fn variables_are_expanded() {
    let text = |host: &str| {
        let loaded = good(&format!("{HEAD}[[route]]\nname = 'r'\nstable = 'a'\nsalt = '{host}'\n"));
        loaded.rules.routes[0].split().unwrap().salt.text().to_owned()
    };
    assert_eq!(text("${HOST}"), "shop.example.com");
    assert_eq!(text("a${HOST}b${NONE:-c}d"), "ashop.example.combcd");
    assert_eq!(text("x${EMPTY}"), "x");
    assert_eq!(text("${EMPTY:-d}"), "d");
    assert_eq!(text("$${HOST}"), "${HOST}");
    assert_eq!(text("${1}$2 $"), "${1}$2 $");
}

#[test]
fn kill_marks_what_it_names() {
    let loaded = good(&format!(
        "{HEAD}[[route]]\nname = 'r'\nstable = 'a'\ncanary = {{ upstream = 'b' }}\n[[route]]\nname = 's'\nmatch = {{ path = '/s' }}\nstable = 'a'\n\
         [kill]\nroutes = 's'\nvariants = ['r:canary']\ntenants = ['acme']\nclose_streams = '5s'\n",
    ));
    let (split, kill) = (|at: u32| loaded.overlay.split(RouteId(at)), loaded.overlay.kill());
    assert_eq!((split(0).is_killed(), split(1).is_killed()), (false, true));
    assert_eq!([0, 1].map(|id| split(0).stopped(VariantId(id))), [None, Some(Stop::Kill)]);
    assert!(kill.tenants.contains("acme") && !kill.all);
    assert_eq!(kill.close_streams, Some(Duration::from_secs(5)));
}

#[test]
fn identities() {
    let rules = rules(
        "[identity]\ntrusted_proxies = ['10.0.0.0/8', '::1']\nuser = ['query:uid', 'path:/u/{user}/x/*', 'path:/v/{user}', 'path:/w/{user}/*']\n\
         tenant = 'host:a.{tenant}.Example.com'\n",
    );
    let found: Vec<_> = rules.identity.user.iter().map(|extractor| format!("{extractor:?}")).collect();
    assert!(found[1].contains(r#"before: "/u/", after: Some("/x/*")"#), "{found:?}");
    assert!(found[2].contains(r#"after: Some("")"#) && found[3].contains("after: None"), "{found:?}");
    let tenant = format!("{:?}", rules.identity.tenant);
    assert!(tenant.contains(r#"before: "a.", after: ".example.com""#), "{tenant}");
    assert_eq!(rules.identity.trusted_proxies.len(), 2);
}

#[test]
fn actions_and_edits() {
    let rules = rules(
        "[[route]]\nname = 'r'\nstable = 'a'\nrewrite = { regex = '^/a/(.*)', to = '/$1', host = 'in.example:8080' }\n\
         headers = { request = { set = { x-v = '{variant}' }, remove = 'x-i', add = { via-x = ['1', '2'] } } }\n\
         [[route]]\nname = 'd'\nmatch = { path = '/d' }\nrespond = {}\n\
         [[route]]\nname = 'e'\nmatch = { path = '/e' }\nredirect = { to = '{scheme}://{host}{path}{query}', status = 302 }\n",
    );
    let edits = &rules.routes[0].request_headers;
    assert_eq!((edits.set.len(), edits.remove.len(), edits.add.len()), (1, 1, 2));
    let rewrite = &rules.routes[0].split().unwrap().rewrite;
    assert_eq!(rewrite.host.as_ref().unwrap(), "in.example:8080");
    assert!(matches!(&rules.routes[1].action, Action::Respond(r) if r.status == 200 && r.body.is_empty()));
    assert!(matches!(&rules.routes[2].action, Action::Redirect(r) if r.status == 302));
}

#[test]
fn all_inputs_are_watched_and_hashed() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    std::fs::create_dir(folder.path().join("routes.d")).unwrap();
    write("routes.toml", &format!("include = ['routes.d/*.toml', '*.toml']\n{HEAD}"));
    write("routes.d/2.toml", "[[route]]\nname = 'second'\nmatch = { host = '2' }\nstable = 'a'\n");
    write(
        "routes.d/1.toml",
        "[[route]]\nname = 'first'\nmatch = { host = '1' }\nstable = 'b'\n[segment.s]\ntenant = { file = '../t.txt' }\n",
    );
    write("routes.d/.3.toml", "not read");
    write("t.txt", "\u{feff}# tenants\r\nacme\r\n\r\n  globex \n");
    let path = folder.path().join("routes.toml");
    let loaded = load(&path, &env).unwrap();
    let names: Vec<_> = loaded.rules.routes.iter().map(|route| &*route.name).collect();
    assert_eq!(names, ["first", "second"]);
    let Predicate::Tenant(list) = &loaded.rules.segments[0].predicates[0] else { panic!("a list of tenants") };
    assert!(list.len() == 2 && list.contains("acme") && list.contains("globex"));
    let watched: Vec<_> = loaded.watched.iter().map(|path| path.strip_prefix(folder.path()).unwrap()).collect();
    for name in ["routes.toml", "routes.d", "routes.d/1.toml", "routes.d/2.toml", "", "routes.d/../t.txt"] {
        assert!(watched.contains(&Path::new(name)), "{name} in {watched:?}");
    }
    assert_eq!(load(&path, &env).unwrap().hash, loaded.hash);
    assert_eq!(loaded.hash.len(), 32);
    write("t.txt", "acme\n");
    let changed = load(&path, &env).unwrap().hash;
    assert_ne!(changed, loaded.hash);
    write("routes.d/4.toml", "");
    assert_ne!(load(&path, &env).unwrap().hash, changed);
}

#[test]
fn the_environment_is_an_input() {
    let text = format!("{HEAD}[state]\ndir = '${{X:-d}}'\n");
    let with = |value: Option<&str>| load_text("r", &text, &|_| value.map(str::to_owned)).unwrap().hash;
    assert_ne!(with(None), with(Some("a")));
    assert_eq!(with(Some("a")), with(Some("a")));
}

#[test]
fn diagnostics_are_json_too() {
    let errors = load_text("r.toml", "schema = 1\nx = 1\n", &env).unwrap_err();
    let unknown = errors.iter().find(|diagnostic| diagnostic.code == "unknown-key").unwrap().to_json();
    assert_eq!(unknown["severity"], "error");
    assert_eq!(unknown["message"], "unknown key `x`");
    assert_eq!(unknown["labels"][0]["line"], 2);
    assert_eq!(unknown["labels"][0]["start"], 11);
    assert_eq!(errors.to_json().as_array().unwrap().len(), errors.len());
    assert!(errors.render(Color::Always).contains("\x1b[1;31merror[unknown-key]\x1b[0m"));
}

#[test]
fn a_hundred_thousand_tenants_are_one_list() {
    let folder = tempfile::tempdir().unwrap();
    let names: String = (0..100_000).fold(String::new(), |text, number| text + &format!("tenant-{number}\n"));
    std::fs::write(folder.path().join("t.txt"), names).unwrap();
    let path = folder.path().join("routes.toml");
    std::fs::write(&path, format!("{HEAD}[segment.s]\ntenant = {{ file = 't.txt' }}\n")).unwrap();
    let loaded = load(&path, &env).unwrap();
    assert!(matches!(&loaded.rules.segments[0].predicates[0], Predicate::Tenant(list) if list.len() == 100_000));
}

fn shadow(text: &str) -> Shadow {
    *split(text).0.shadow.expect("a shadow")
}

#[test]
fn a_shadow_has_the_defaults_of_the_schema() {
    let shadow = shadow("shadow = { upstream = 'b', weight = 20, compare = { redact = [] } }\n");
    let fields = |path: &[&str]| {
        let mut value = &schema()["properties"]["route"]["items"]["properties"];
        for step in path {
            value = &value[step]["properties"];
        }
        value.clone()
    };
    let known = fields(&["shadow"]);
    assert_eq!(known["sample_by"]["default"], shadow.sample_by.name());
    assert_eq!(known["max_in_flight"]["default"], shadow.max_in_flight);
    assert_eq!(known["max_body"]["default"], format!("{}KiB", shadow.max_body_bytes >> 10));
    assert_eq!(known["timeout"]["default"], format!("{}s", shadow.timeout.as_secs()));
    let methods: Vec<_> = shadow.methods.iter().map(http::Method::as_str).collect();
    assert_eq!(known["methods"]["default"], serde_json::json!(methods));
    assert_eq!(known["from"]["default"], serde_json::json!(["stable"]));
    assert_eq!(shadow.from, [VariantId::STABLE]);
    assert!(shadow.host.is_none() && shadow.headers.is_empty());
    let (known, compare) = (fields(&["shadow", "compare"]), shadow.compare.unwrap());
    assert_eq!(compare, Compare::default());
    assert_eq!(known["control"]["default"].as_f64(), Some(compare.control.percent()));
    assert_eq!(known["keep"]["default"], compare.keep);
}

#[test]
fn a_shadow_has_its_values() {
    let text = "sticky = 'user'\nsalt = 's'\ncanary = { upstream = 'b', weight = 5 }\n[route.shadow]\nupstream = 'b'\nweight = 0.5\n\
                sample_by = 'key'\nmethods = 'POST'\nfrom = ['canary', 'stable']\nmax_in_flight = 1\nmax_body = '0B'\ntimeout = '1ms'\n\
                host = 'shadow.internal:8080'\nheaders = { set = { x-v = '{variant}' }, remove = ['authorization'] }\n[route.shadow.compare]\n\
                control = 100\nignore = '$.ts'\nunordered = ['$.items']\ntolerance = { '$.eta_s' = 0.01, '$.n' = 2 }\n\
                redact = ['header:cookie', '$..email']\nkeep = 0\n";
    let shadow = shadow(text);
    let weight = Weight::from_millionths(5_000).unwrap();
    assert_eq!((shadow.upstream, shadow.weight, shadow.sample_by), (UpstreamId(1), weight, SampleBy::Key));
    assert_eq!(shadow.salt, Salt::shadow("s"));
    assert_eq!((shadow.methods, shadow.from), (vec![http::Method::POST], vec![VariantId(1), VariantId::STABLE]));
    assert_eq!((shadow.max_in_flight, shadow.max_body_bytes), (1, 0));
    assert_eq!(shadow.timeout, Duration::from_millis(1));
    assert_eq!(shadow.host.unwrap(), "shadow.internal:8080");
    assert_eq!((shadow.headers.set.len(), shadow.headers.remove.len()), (1, 1));
    let expected = Compare {
        control: Weight::FULL,
        ignore: vec!["$.ts".into()],
        unordered: vec!["$.items".into()],
        tolerance: vec![("$.eta_s".into(), 0.01), ("$.n".into(), 2.0)],
        redact: vec!["header:cookie".into(), "$..email".into()],
        keep: 0,
    };
    assert_eq!(shadow.compare, Some(expected));
}

#[test]
fn a_shadow_loop_is_found() {
    for (address, endpoint, is_loop) in [
        ("127.0.0.1:8080", "http://127.0.0.1:8080", true),
        ("127.0.0.1:8080", "http://localhost:8080", true),
        ("0.0.0.0:8080", "http://127.0.0.1:8080", true),
        ("[::]:8080", "http://[::1]:8080", true),
        ("10.0.0.1:80", "http://10.0.0.1", true),
        ("10.0.0.1:80", "http://localhost", false),
        ("0.0.0.0:8080", "http://10.0.0.1:8080", false),
        ("127.0.0.1:8080", "http://127.0.0.1:8081", false),
    ] {
        let loaded = good(&format!(
            "schema = 1\n[[listener]]\naddress = '{address}'\n[upstream.a]\nendpoints = 'http://10.9.9.9'\n[upstream.b]\n\
             endpoints = '{endpoint}'\n[[route]]\nname = 'r'\nstable = 'a'\nshadow = {{ upstream = 'b', weight = 1 }}\n"
        ));
        let codes: Vec<_> = loaded.warnings.iter().map(|warning| warning.code).collect();
        assert_eq!(codes, if is_loop { vec!["shadow-loop", "own-listener"] } else { vec![] }, "{address} {endpoint}");
    }
}
