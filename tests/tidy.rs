//! Keeps the house in order: floors, sizes, doors, names and words. Every rule says what to do instead.
//!
//! The rules are pure functions from a source file to findings, each with a test on a bad and on a good snippet; the
//! tests at the end run them over the tree.

#[path = "tidy/floors.rs"]
mod floors;
#[path = "tidy/lexicon.rs"]
mod lexicon;
#[path = "tidy/names.rs"]
mod names;
#[path = "tidy/ports.rs"]
mod ports;
#[path = "tidy/rings.rs"]
mod rings;
#[path = "tidy/shape.rs"]
mod shape;
#[path = "tidy/source.rs"]
mod source;
#[path = "tidy/stages.rs"]
mod stages;

use source::{Finding, Source};

/// Runs one rule over the files below `folders` and fails with everything that it found.
fn check(folders: &[&str], rule: impl Fn(&Source) -> Vec<Finding>) {
    let files = source::tree(folders);
    assert!(!files.is_empty(), "no Rust file below {folders:?}: is the test run in the package's folder?");
    let found: Vec<String> = files
        .iter()
        .flat_map(|file| rule(file).into_iter().map(|finding| format!("{}:{finding}", file.path)))
        .collect();
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

/// Everything in Rust that the project keeps.
const ALL: &[&str] = &["src", "tests", "bench", "fuzz"];

#[test]
fn rooms_import_only_from_floors_below() {
    check(&["src"], floors::imports);
}

#[test]
fn files_of_a_room_import_in_one_direction() {
    let found = rings::in_rooms(&source::tree(&["src"]));
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

#[test]
fn folders_of_a_room_import_in_one_direction() {
    let found = rings::against_the_order(&source::tree(&["src"]));
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

#[test]
fn no_layer_stands_between_stages() {
    check(&["src"], floors::layers);
}

#[test]
fn only_the_line_calls_a_stage() {
    check(&["src"], stages::calls);
    check(&["src"], stages::left_out);
}

#[test]
fn pure_rooms_use_only_pure_crates() {
    let dependencies = source::dependencies(&source::read("Cargo.toml"));
    assert!(dependencies.len() > 10, "Cargo.toml has lost its [dependencies]");
    check(&["src"], |file| floors::purity(file, &dependencies));
}

#[test]
fn files_are_short() {
    check(&["src"], shape::file_size);
}

#[test]
fn functions_are_short() {
    check(ALL, shape::function_size);
}

#[test]
fn functions_take_no_flags() {
    check(&["src"], shape::flag_parameters);
}

#[test]
fn files_say_what_they_are_for() {
    check(ALL, shape::module_docs);
}

#[test]
fn doors_are_only_doors() {
    check(&["src"], shape::doors);
}

#[test]
fn names_are_nouns_of_the_domain() {
    check(ALL, lexicon::file_names);
}

#[test]
fn words_are_those_of_the_lexicon() {
    check(ALL, lexicon::words);
}

#[test]
fn text_is_plain_technical_english() {
    let code = source::files(ALL, &["rs", "toml", "txt", "py", "sh", "md"]);
    let documents = source::files(&["docs", "deploy", ".ci"], &["md", "toml", "yaml", "yml", "sh", "py", "service"]);
    let first = ["README.md", "ARCHITECTURE.md", "CHANGELOG.md", "SECURITY.md", "CONTRIBUTING.md", "routes.toml"];
    let first = first.map(|name| (name.to_owned(), source::read(name)));
    let found: Vec<String> = code
        .iter()
        .chain(&documents)
        .chain(&first)
        .filter(|(name, _)| name != "tests/tidy/lexicon.rs")
        .flat_map(|(name, text)| lexicon::dialect(text).into_iter().map(move |finding| format!("{name}:{finding}")))
        .collect();
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

#[test]
fn a_type_name_stands_for_one_type() {
    let found = names::defined_twice(&source::tree(&["src"]));
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

#[test]
fn parameters_have_names() {
    check(&["src", "tests"], names::tuple_parameters);
}

#[test]
fn rooms_that_compute_assert_their_invariants() {
    let files = source::tree(&["src"]);
    let found: Vec<String> = floors::computing().iter().filter_map(|folder| shape::asserts(folder, &files)).collect();
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

#[test]
fn nothing_is_left_for_later() {
    check(ALL, shape::leftovers);
}

#[test]
fn tests_take_no_fixed_ports() {
    check(&["src", "tests"], ports::fixed);
}

#[test]
fn tests_start_the_proxy_where_its_ports_are_looked_at() {
    check(&["tests"], ports::unseen_starts);
}

#[test]
fn nothing_is_static() {
    check(&["src"], shape::statics);
}

#[test]
fn snapshots_are_published_from_one_file() {
    check(&["src"], floors::publishers);
}

#[test]
fn connections_are_opened_in_one_room() {
    check(&["src"], floors::connections);
}

#[test]
fn the_controller_stays_small() {
    check(&["src/control"], shape::members);
}

#[test]
fn metrics_are_named_in_one_room() {
    check(&["src"], floors::metric_names);
}
