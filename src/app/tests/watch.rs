//! Every kind of change to a file leads to a reload.

use std::os::unix::fs::symlink;
use std::time::Duration;

use super::harness::{Folder, eventually, file, start, weight};
use crate::app::App;

fn expect(app: &App, expected: u32, how: &str) {
    eventually(how, || (weight(app) - f64::from(expected)).abs() < 1e-9);
}

#[test]
fn written_in_place() {
    let folder = Folder::new(&file(5));
    let app = folder.watched();
    for weight in [6, 7, 8] {
        folder.write("routes.toml", &file(weight));
        expect(&app, weight, "the file was written in place");
    }
}

#[test]
fn renamed_over() {
    let folder = Folder::new(&file(5));
    let app = folder.watched();
    for weight in [6, 7] {
        folder.write(".routes.toml.swp", &file(weight));
        std::fs::rename(folder.path(".routes.toml.swp"), folder.path("routes.toml")).expect("renamed");
        expect(&app, weight, "a new file took the place of the old one");
    }
}

#[test]
fn a_symbolic_link_to_another_file() {
    let folder = Folder::new(&file(5));
    folder.write("a/one.toml", &file(6));
    folder.write("b/two.toml", &file(7));
    std::fs::remove_file(folder.path("routes.toml")).expect("removed");
    symlink("a/one.toml", folder.path("routes.toml")).expect("linked");
    let app = folder.watched();
    expect(&app, 6, "the link was followed at the start");
    symlink("b/two.toml", folder.path("next")).expect("linked");
    std::fs::rename(folder.path("next"), folder.path("routes.toml")).expect("renamed");
    expect(&app, 7, "the link was swapped");
    folder.write("b/two.toml", &file(8));
    expect(&app, 8, "the new target was written to");
}

#[test]
fn a_config_map_of_kubernetes() {
    let folder = Folder::new("");
    std::fs::remove_file(folder.path("routes.toml")).expect("removed");
    let version = |name: &str, weight: u32| {
        folder.write(&format!("{name}/routes.toml"), &file(weight));
        symlink(name, folder.path("..data_tmp")).expect("linked");
        std::fs::rename(folder.path("..data_tmp"), folder.path("..data")).expect("renamed");
    };
    version("..2026_01", 6);
    symlink("..data/routes.toml", folder.path("routes.toml")).expect("linked");
    let app = folder.watched();
    expect(&app, 6, "the first version");
    version("..2026_02", 7);
    std::fs::remove_dir_all(folder.path("..2026_01")).expect("removed");
    expect(&app, 7, "the second version");
    version("..2026_03", 8);
    std::fs::remove_dir_all(folder.path("..2026_02")).expect("removed");
    expect(&app, 8, "the third version");
}

#[test]
fn removed_and_created_again() {
    let folder = Folder::new(&file(5));
    let app = folder.watched();
    std::fs::remove_file(folder.path("routes.toml")).expect("removed");
    eventually("the missing file is noticed", || app.status()["last_reload"]["outcome"] == "rejected");
    expect(&app, 5, "the old rules hold");
    folder.write("routes.toml", &file(6));
    expect(&app, 6, "the file is back");
}

#[test]
fn its_folder_removed_and_created_again() {
    let folder = Folder::new("");
    folder.write("etc/routes.toml", &file(5));
    let mut options = folder.options();
    options.path = folder.path("etc/routes.toml");
    options.poll_interval = Some(Duration::from_hours(1));
    let app = start(&options).expect("started");
    // The journal may write to its folder in it meanwhile.
    eventually("its folder is removed", || {
        std::fs::remove_dir_all(folder.path("etc")).is_ok() || !folder.path("etc").exists()
    });
    eventually("the missing file is noticed", || app.status()["last_reload"]["outcome"] == "rejected");
    folder.write("etc/routes.toml", &file(6));
    expect(&app, 6, "the folder is back");
    folder.write("etc/routes.toml", &file(7));
    expect(&app, 7, "the new folder is watched");
}

#[test]
fn a_broken_file_is_repaired() {
    let folder = Folder::new(&file(5));
    let app = folder.watched();
    folder.write("routes.toml", "schema = ");
    eventually("the broken file is noticed", || app.status()["last_reload"]["outcome"] == "rejected");
    folder.write("routes.toml", &file(6));
    expect(&app, 6, "the file was mended");
}

#[test]
fn a_new_include_breaks_and_repairs_the_configuration() {
    let folder = Folder::new(&file(5).replace("schema = 1", "schema = 1\ninclude = [\"routes.d/*.toml\"]"));
    std::fs::create_dir(folder.path("routes.d")).expect("made");
    let app = folder.watched();
    let routes = || app.status()["routes"].as_array().map_or(0, Vec::len);
    let route =
        |name: &str| format!("[[route]]\nname = \"{name}\"\nmatch = {{ path = \"/{name}\" }}\nstable = \"v1\"\n");
    folder.write("routes.d/more.toml", &route("one"));
    eventually("a file appeared where the glob looks", || routes() == 2);
    folder.write("routes.d/other.toml", "broken");
    eventually("a broken file is noticed", || app.status()["last_reload"]["outcome"] == "rejected");
    folder.write("routes.d/other.toml", &route("two"));
    eventually("the broken file was mended", || routes() == 3);
    std::fs::remove_file(folder.path("routes.d/more.toml")).expect("removed");
    eventually("a file is gone", || routes() == 2);
}

#[test]
fn a_file_that_a_broken_one_waits_for() {
    let folder = Folder::new(&file(5));
    let app = folder.watched();
    folder.write("routes.toml", &file(6).replace("schema = 1", "schema = 1\ninclude = [\"later/more.toml\"]"));
    eventually("the missing include is noticed", || app.status()["last_reload"]["outcome"] == "rejected");
    folder.write("later/more.toml", "");
    expect(&app, 6, "the include is there");
}

#[test]
fn a_list_of_tenants() {
    let segment =
        "[segment.some]\ntenant = { file = \"tenants.txt\" }\n[identity]\ntenant = [\"query:tenant\"]\n[[route]]";
    let target = "[[route.target]]\nsegment = \"some\"\nserve = \"canary\"\n";
    let text = format!("{}{target}", file(5).replace("[[route]]", segment));
    let folder = Folder::new("");
    folder.write("tenants.txt", "acme\n");
    folder.write("routes.toml", &text);
    let app = folder.watched();
    let variant = || super::harness::get(&app, "/explain?path=/%3Ftenant%3Dglobex").json()["variant"].clone();
    assert_eq!(variant(), "stable");
    folder.write("tenants.txt", "acme\nglobex\n");
    eventually("the list has a new name", || variant() == "canary");
}

#[test]
fn the_poll_finds_changes_that_are_not_notified() {
    // A change behind a bind mount or on a network file system is not notified; here, a hard link to the file is
    // written to in a folder that is not watched.
    let folder = Folder::new(&file(5));
    std::fs::create_dir(folder.path("elsewhere")).expect("made");
    std::fs::hard_link(folder.path("routes.toml"), folder.path("elsewhere/alias")).expect("linked");
    let mut options = folder.options();
    options.poll_interval = Some(Duration::from_millis(20));
    let app = start(&options).expect("started");
    std::fs::write(folder.path("elsewhere/alias"), file(6)).expect("written");
    expect(&app, 6, "the poll noticed");
}

#[test]
fn changes_of_other_files_are_ignored() {
    let folder = Folder::new(&file(5));
    let app = folder.watched();
    for i in 0..20 {
        folder.write(&format!("access-{i}.log"), "x");
    }
    // A change that counts; after it, all notices of the others have been handled.
    folder.write("routes.toml", &file(6));
    expect(&app, 6, "the file was written");
    let metrics = || super::harness::get(&app, "/metrics").body;
    eventually("one reload", || metrics().contains("pointsman_config_reloads_total{outcome=\"applied\"} 1\n"));
    // The file is so new at the start that it may be loaded twice.
    let unchanged = |times: u32| format!("pointsman_config_reloads_total{{outcome=\"unchanged\"}} {times}\n");
    assert!([0, 1].into_iter().any(|times| metrics().contains(&unchanged(times))), "{}", metrics());
}
