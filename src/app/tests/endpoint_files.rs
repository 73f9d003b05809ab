//! Endpoints in a file: each change of it leads to a reload, and a bad file changes nothing.

use std::fmt::Write as _;
use std::os::unix::fs::symlink;

use super::harness::{Folder, eventually, file, rejected};
use crate::app::{App, ReloadOutcome};

/// A routes file whose upstream `v1` has its endpoints in `endpoints/v1.txt`.
fn with_list() -> String {
    file(5).replace("endpoints = [\"http://127.0.0.1:1\"]", "endpoints = { file = \"endpoints/v1.txt\" }")
}

/// A list of this many endpoints.
fn list(count: usize) -> String {
    let mut text = String::from("# a discovery wrote this\n");
    for at in 0..count {
        writeln!(text, "http://127.1.{}.{}:1", at / 250, at % 250 + 1).expect("memory");
    }
    text
}

fn count(app: &App) -> usize {
    app.state.snapshot().rules.upstreams[0].endpoints.len()
}

fn expect(app: &App, expected: usize, how: &str) {
    eventually(how, || count(app) == expected);
}

#[test]
fn every_kind_of_change_is_noticed() {
    let folder = Folder::new(&with_list());
    folder.write("endpoints/v1.txt", &list(2));
    let app = folder.watched();
    assert_eq!(count(&app), 2);
    folder.write("endpoints/v1.txt", &list(3));
    expect(&app, 3, "the list was written in place");
    folder.write("endpoints/.v1.tmp", &list(4));
    std::fs::rename(folder.path("endpoints/.v1.tmp"), folder.path("endpoints/v1.txt")).expect("renamed");
    expect(&app, 4, "a new list took the place of the old one");
    std::fs::remove_file(folder.path("endpoints/v1.txt")).expect("removed");
    eventually("the missing list is noticed", || app.status()["last_reload"]["outcome"] == "rejected");
    assert_eq!(count(&app), 4, "the last good endpoints stay");
    folder.write("endpoints/v1.txt", &list(5));
    expect(&app, 5, "the list is back");
}

#[test]
fn a_list_in_a_config_map_of_kubernetes() {
    let folder = Folder::new(&with_list());
    let version = |name: &str, count: usize| {
        folder.write(&format!("endpoints/{name}/v1.txt"), &list(count));
        symlink(name, folder.path("endpoints/..data_tmp")).expect("linked");
        std::fs::rename(folder.path("endpoints/..data_tmp"), folder.path("endpoints/..data")).expect("renamed");
    };
    version("..1", 2);
    symlink("..data/v1.txt", folder.path("endpoints/v1.txt")).expect("linked");
    let app = folder.watched();
    assert_eq!(count(&app), 2);
    version("..2", 3);
    std::fs::remove_dir_all(folder.path("endpoints/..1")).expect("removed");
    expect(&app, 3, "the second version");
    version("..3", 4);
    expect(&app, 4, "the third version");
}

#[test]
fn a_bad_list_is_rejected_and_named() {
    let folder = Folder::new(&with_list());
    folder.write("endpoints/v1.txt", &list(3));
    let app = folder.start();
    for (bad, part) in [
        ("", "has no endpoint"),
        ("http://127.0.0.1:1\nhttp://127.0.0.", "may be half written"),
        ("http://127.0.0.1:1\nhttp://0.0.0.0:1\n", "every address of a machine"),
        ("http://127.0.0.1:1\nhttp://127.0.0.1:1\n", "listed twice"),
        ("http://127.0.0.1:1 drain\n", "is drained"),
    ] {
        folder.write("endpoints/v1.txt", bad);
        let outcome = app.reload();
        assert!(rejected(&outcome).contains(part), "{bad:?}: {outcome:?}");
        assert_eq!(count(&app), 3, "{bad:?}");
    }
    folder.write("endpoints/v1.txt", &list(3));
    assert!(matches!(app.reload(), ReloadOutcome::Unchanged { .. }));
}

#[test]
fn a_change_of_one_line_of_many_is_one_line() {
    let folder = Folder::new(&with_list());
    folder.write("endpoints/v1.txt", &list(2_000));
    let app = folder.start();
    folder.write("endpoints/v1.txt", &list(2_000).replace("http://127.1.3.7:1\n", "http://127.1.3.7:1 drain\n"));
    let ReloadOutcome::Applied { summary, .. } = app.reload() else { panic!("it is applied") };
    assert_eq!(summary, ["upstream v1 endpoints: 1 drained"]);
    folder.write("endpoints/v1.txt", &list(1_999));
    let ReloadOutcome::Applied { summary, .. } = app.reload() else { panic!("it is applied") };
    assert_eq!(summary, ["upstream v1 endpoints: 1 removed (http://127.1.7.250:1), 1 no longer drained"]);
}
