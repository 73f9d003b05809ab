//! Reload: unchanged, applied, rejected; what is carried over.

use super::harness::{Folder, eventually, file, generation, get, rejected, start, weight};
use crate::app::{ReloadOutcome, StartError};

#[test]
fn the_three_outcomes() {
    let folder = Folder::new(&file(5));
    let app = folder.start();
    assert_eq!((generation(&app), weight(&app)), (1, 5.0));
    assert!(matches!(app.reload(), ReloadOutcome::Unchanged { .. }));

    folder.write("routes.toml", &file(10));
    let outcome = app.reload();
    let ReloadOutcome::Applied { generation: number, summary } = &outcome else { panic!("{outcome:?}") };
    assert_eq!(number.0, 2);
    assert!(summary.iter().any(|line| line == "api canary 5 → 10"), "{summary:?}");
    assert_eq!((generation(&app), weight(&app)), (2, 10.0));

    folder.write("routes.toml", &file(101));
    let outcome = app.reload();
    assert!(rejected(&outcome).contains("routes.toml"), "{outcome:?}");
    assert_eq!((generation(&app), weight(&app)), (2, 10.0));
    let status = app.status();
    assert_eq!(status["last_reload"]["outcome"], "rejected");
    assert_eq!(status["ready"], true, "a rejected reload does not change readiness");
    let metrics = get(&app, "/metrics").body;
    for line in [
        "pointsman_config_generation 2",
        "pointsman_config_last_reload_success 0",
        "pointsman_config_reloads_total{outcome=\"applied\"} 1",
        "pointsman_config_reloads_total{outcome=\"rejected\"} 1",
        "pointsman_config_reloads_total{outcome=\"unchanged\"} 1",
    ] {
        assert!(metrics.lines().any(|metric| metric == line), "{line} is not in\n{metrics}");
    }

    folder.write("routes.toml", &file(10));
    assert!(matches!(app.reload(), ReloadOutcome::Unchanged { .. }), "the file of the current configuration again");
    assert!(get(&app, "/metrics").body.contains("pointsman_config_last_reload_success 1\n"));
    // The last change is still shown after a reload that changes nothing.
    let status = app.status();
    assert_eq!(
        (&status["last_reload"]["outcome"], &status["last_change"]["generation"]),
        (&"unchanged".into(), &2.into())
    );
    assert_eq!(status["last_change"]["summary"][0], "api canary 5 → 10");
}

#[test]
fn a_changed_limit_or_name_keeps_the_socket() {
    let folder = Folder::new(&file(5));
    let app = folder.start();
    let before = app.state.snapshot();
    folder.write("routes.toml", &file(5).replace("[access_log]", "[listener.limits]\nconnections = 7\n[access_log]"));
    assert!(matches!(app.reload(), ReloadOutcome::Applied { .. }));
    let limited = app.state.snapshot();
    assert_eq!(limited.listeners[0].spec.limits.connections, 7);
    folder.write("routes.toml", &file(5).replace("name = \"http\"", "name = \"web\""));
    assert!(matches!(app.reload(), ReloadOutcome::Applied { .. }));
    let renamed = app.state.snapshot();
    assert_eq!(renamed.listeners[0].spec.name, "web");
    for after in [&limited, &renamed] {
        assert!(std::sync::Arc::ptr_eq(&before.listeners[0].socket, &after.listeners[0].socket));
        assert!(std::sync::Arc::ptr_eq(&before.listeners[0].meters, &after.listeners[0].meters));
        assert_eq!(before.listeners[0].bound, after.listeners[0].bound);
    }
}

#[test]
fn what_did_not_change_is_the_same_object() {
    let folder = Folder::new(&file(5));
    let app = folder.start();
    let before = app.state.snapshot();
    folder.write(
        "routes.toml",
        &file(6).replace(
            "name = \"api\"",
            "name = \"new\"\nmatch = { path = \"/new\" }\nstable = \"v2\"\n[[route]]\nname = \"api\"",
        ),
    );
    assert!(matches!(app.reload(), ReloadOutcome::Applied { .. }));
    let after = app.state.snapshot();
    assert_eq!(after.rules.routes.len(), 2);
    assert!(std::sync::Arc::ptr_eq(&before.listeners[0], &after.listeners[0]));
    for variant in 0..2 {
        assert!(std::sync::Arc::ptr_eq(&before.routes[0].series[variant], &after.routes[1].series[variant]));
        assert!(std::sync::Arc::ptr_eq(&before.upstreams[variant], &after.upstreams[variant]));
    }
}

#[test]
fn listeners_come_and_go() {
    let folder = Folder::new(&file(5));
    let app = folder.start();
    let first = app.listeners();
    let two = file(5).replace("[access_log]", "[[listener]]\nname = \"more\"\naddress = \"[::1]:0\"\n[access_log]");
    folder.write("routes.toml", &two);
    assert!(matches!(app.reload(), ReloadOutcome::Applied { .. }));
    let both = app.listeners();
    assert_eq!(both.len(), 2);
    assert_eq!(both[0], first[0], "port 0 keeps its port");
    std::net::TcpStream::connect(both[1].1).expect("the new one accepts");
    let kept = app.state.snapshot();
    folder.write("routes.toml", &file(5));
    assert!(matches!(app.reload(), ReloadOutcome::Applied { .. }));
    assert_eq!(app.listeners(), first);
    let refused = || std::net::TcpStream::connect(both[1].1).is_err();
    eventually("the old socket is closed, although a snapshot still has it", refused);
    drop(kept);
    folder.write("routes.toml", &two.replace("[::1]:0", &both[1].1.to_string()));
    assert!(matches!(app.reload(), ReloadOutcome::Applied { .. }), "its address is free again");
    folder.write("routes.toml", &file(5));
    assert!(matches!(app.reload(), ReloadOutcome::Applied { .. }));
    folder.write("routes.toml", &two.replace("[::1]:0", &both[1].1.to_string()));
    assert!(matches!(app.reload(), ReloadOutcome::Applied { .. }), "even at once");
}

#[test]
fn a_port_that_cannot_be_bound_rejects_the_whole_reload() {
    let folder = Folder::new(&file(5));
    let app = folder.start();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
    let address = taken.local_addr().expect("an address");
    let more = format!("[[listener]]\nname = \"more\"\naddress = \"{address}\"\n[access_log]");
    folder.write("routes.toml", &file(9).replace("[access_log]", &more));
    let outcome = app.reload();
    let text = rejected(&outcome);
    assert!(text.contains(&format!("listener \"more\" cannot listen on {address}: the address is in use")), "{text}");
    assert!(text.contains("help:"), "{text}");
    assert_eq!((generation(&app), weight(&app)), (1, 5.0));
    drop(taken);
    assert!(matches!(app.reload(), ReloadOutcome::Applied { .. }), "the same file, now that the port is free");
    assert_eq!((generation(&app), weight(&app)), (2, 9.0));
}

#[test]
fn the_admin_listener_moves() {
    let folder = Folder::new(&file(5));
    let app = folder.start();
    let old = app.admin();
    folder.write("routes.toml", &file(5).replacen("127.0.0.1:0", "[::1]:0", 1));
    assert!(matches!(app.reload(), ReloadOutcome::Applied { .. }));
    assert_ne!(app.admin(), old);
    assert_eq!(get(&app, "/healthz").status, 200);
}

/// The line of a text that contains this, from 1.
fn line_of(text: &str, part: &str) -> usize {
    1 + text.lines().position(|line| line.contains(part)).expect("a line")
}

#[test]
fn places_follow_the_lines_above_them_also_after_a_rejected_edit() {
    let target = "[[route.target]]\ntenant = \"acme\" # here\nrespond = { status = 403 }\n";
    let plain = file(5).replace("[access_log]", "[identity]\ntenant = \"query:tenant\"\n[access_log]");
    let text = |above: &str, more: &str| plain.replace("[[route]]", &format!("{above}[[route]]")) + target + more;
    let folder = Folder::new(&text("", ""));
    let app = folder.start();
    let check = |text: &str| {
        let explained = get(&app, "/explain?path=/%3Ftenant%3Dacme").json();
        let is_at = |place: &serde_json::Value, line: usize| {
            place.as_str().is_some_and(|place| place.ends_with(&format!("routes.toml:{line}")))
        };
        assert!(is_at(&explained["target"], line_of(text, "# here") - 1), "{explained}");
        assert!(is_at(&explained["route"]["place"], line_of(text, "[[route]]")), "{explained}");
        assert!(is_at(&app.status()["routes"][0]["place"], line_of(text, "[[route]]")));
    };
    check(&text("", ""));
    for above in ["# one\n", "# one\n\n# two\n", "[upstream.v3]\nendpoints = [\"http://127.0.0.1:3\"]\n", ""] {
        folder.write("routes.toml", &text(above, ""));
        assert!(matches!(app.reload(), ReloadOutcome::Applied { .. }), "{above}");
        check(&text(above, ""));
        // This one is valid, and another folder of state is refused after it was read.
        let before = text(above, "");
        folder.write("routes.toml", &format!("# more\n# lines\n{before}[state]\ndir = \"elsewhere\"\n"));
        assert!(rejected(&app.reload()).contains("elsewhere"));
        check(&before);
        folder.write("routes.toml", &text(above, "[kill]\nroutes = [\"api\"]\n"));
        assert!(matches!(app.reload(), ReloadOutcome::Applied { .. }), "{above}");
        check(&before);
        let kills = get(&app, "/v1/kill").json();
        let place = format!("routes.toml:{}", before.lines().count() + 2);
        assert!(kills.to_string().contains(&place), "{kills}");
    }
}

#[test]
fn concurrent_reloads_are_all_answered() {
    let folder = Folder::new(&file(5));
    let app = folder.start();
    folder.write("routes.toml", &file(6));
    let outcomes = std::thread::scope(|scope| {
        let requests: Vec<_> = (0..20).map(|_| scope.spawn(|| app.reload())).collect();
        requests.into_iter().map(|thread| thread.join().expect("an outcome")).collect::<Vec<_>>()
    });
    let applied = outcomes.iter().filter(|outcome| matches!(outcome, ReloadOutcome::Applied { .. })).count();
    let rejected = outcomes.iter().filter(|outcome| matches!(outcome, ReloadOutcome::Rejected(_))).count();
    assert!(applied >= 1 && rejected == 0, "{outcomes:?}");
    assert_eq!(generation(&app), 2);
}

#[test]
fn a_bad_start_says_why() {
    let folder = Folder::new("schema = 1\n");
    let error = start(&folder.options()).err().expect("no listener");
    assert!(matches!(error, StartError::Config(_)), "{error}");
    assert_eq!(error.exit_code(), 78);

    let taken = ["[::1]:0", "127.0.0.1:0"].map(|any| std::net::TcpListener::bind(any).expect("bound"));
    let [admin, clients] = taken.each_ref().map(|socket| socket.local_addr().expect("an address").to_string());
    let text = file(5).replacen("127.0.0.1:0", &admin, 1).replacen("127.0.0.1:0", &clients, 1);
    folder.write("routes.toml", &text);
    let error = start(&folder.options()).err().expect("in use");
    let text = error.to_string();
    assert!(matches!(error, StartError::Bind(_)), "{text}");
    assert!(text.contains("listener \"http\" cannot") && text.contains("the admin listener cannot"), "{text}");
    assert_eq!(error.exit_code(), 1);
}
