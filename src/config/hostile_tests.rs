//! Hostile files: every input is loaded or rejected, in bounded time and memory.

use std::fmt::Write as _;
use std::path::Path;

use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use super::toml::context::Context;
use super::toml::document::Document;
use super::*;

const SHIPPED: &str = include_str!("../../routes.toml");

fn no_env(_: &str) -> Option<String> {
    None
}

fn refused(text: &str) -> Diagnostics {
    let refused = load_text("routes.toml", text, &no_env).expect_err("a bad file");
    let shown = refused.to_string();
    assert!(!shown.is_empty() && shown.len() < 200_000, "{} bytes are shown", shown.len());
    refused
}

fn from_disk(bytes: &[u8]) -> Diagnostics {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    load(file.path(), &no_env).expect_err("a bad file")
}

#[test]
fn deep_nesting_does_not_overflow_the_stack() {
    for (open, close) in [("[", "]"), ("{a=", "}"), ("[{a=", "}]"), ("[", ""), ("{a=", "")] {
        refused(&format!("x = {}1{}", open.repeat(10_000), close.repeat(10_000)));
    }
    let key = "a.".repeat(10_000);
    for text in [format!("{key}a = 1"), format!("[{key}a]"), format!("[[{key}a]]"), format!("x = {{ {key}a = 1 }}")] {
        refused(&text);
    }
    let mut text = String::new();
    for depth in 1..48 {
        let _ = writeln!(text, "[segment.s.{}not]", "not.".repeat(depth));
    }
    refused(&text);
}

#[test]
fn a_million_routes_are_refused() {
    let errors = refused(&"[[route]]\n".repeat(1_000_000));
    assert!(errors.to_string().contains("at most 250000"), "{errors}");
}

#[test]
fn one_table_may_have_many_keys() {
    let mut text = "schema = 1\n".to_owned();
    for number in 0..50_000 {
        let _ = writeln!(text, "[upstream.u{number}]\nendpoints = 'http://a'");
    }
    assert_eq!(refused(&text).len(), 1);
    let keys: String = (0..50_000).fold(String::new(), |text, number| text + &format!("k{number} = 1\n"));
    let errors = refused(&keys);
    assert!(errors.len() > 50_000 && errors.more() > 49_000);
    assert!(errors.to_string().contains(" more\n"));
}

#[test]
fn everything_has_a_limit() {
    let regexes = "{ regex = 'a' }, ".repeat(5_001);
    assert!(refused(&format!("[segment.s]\nheader = {{ x = [{regexes}] }}\n")).to_string().contains("5000 regexes"));
    let mut variants =
        "schema = 1\n[upstream.a]\nendpoints = 'http://a'\n[[route]]\nname = 'r'\nstable = 'a'\n".to_owned();
    for number in 0..101 {
        let _ = write!(variants, "[[route.variant]]\nname = 'v{number}'\nupstream = 'a'\n");
    }
    assert!(refused(&variants).to_string().contains("at most 100 variants"));
}

#[test]
fn large_files_are_refused_unread() {
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().set_len(50 << 20).unwrap();
    let errors = load(file.path(), &no_env).unwrap_err().to_string();
    assert!(errors.contains("it has 50 MiB; the limit is 32 MiB"), "{errors}");
}

#[test]
fn files_with_too_many_tokens_are_refused_early() {
    let brackets = format!("a = {}", "[".repeat(5_000_000));
    let errors = from_disk(brackets.as_bytes()).to_string();
    assert!(errors.contains("too many brackets are open") && errors.contains(":1:10005"), "{errors}");
    let commas = format!("a = [{}]", "1,".repeat(7_000_000));
    assert!(from_disk(commas.as_bytes()).to_string().contains("more than 12 million"));
}

#[test]
fn directories_and_devices_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let message = |path: &Path| load(path, &no_env).unwrap_err().to_string();
    assert!(message(folder.path()).contains("it is a directory"));
    assert!(message(&folder.path().join("missing.toml")).contains("there is no such file"));
    assert!(message(Path::new("/dev/zero")).contains("a device or pipe"));
}

#[test]
fn files_that_are_not_utf8_are_refused() {
    assert!(from_disk(b"schema = 1\n\xff\xfe").to_string().contains("not UTF-8 at line 2 (byte 11)"));
    assert!(!from_disk(&[0; 4096]).is_empty());
    assert!(from_disk(b"\xff\xfes\0c\0h\0e\0m\0a\0").to_string().contains("line 1 (byte 0)"), "UTF-16");
}

#[test]
fn the_toml_crate_agrees() {
    for text in [SHIPPED, "a.b = 1\na.c = 2\n", "[a.b]\n[a]\n", "[a]\nb.c = 1\n[a.b.d]\n", "x = { a.b = 1, a.c = 2 }\n"]
    {
        assert!(agrees(text), "{text}");
    }
}

/// Whether the parser and the `toml` crate agree on whether a text is TOML.
fn agrees(text: &str) -> bool {
    let last_good = crate::tls::LastGood::default();
    let mut context = Context::new(&no_env, &last_good);
    let file = context.add(Source { name: "a".into(), text: text.into() });
    Document::parse(&mut context, &compile::FILE, file, text).is_some() == text.parse::<::toml::Table>().is_ok()
}

/// A line of a small TOML document, so that tables are combined in every way.
fn line() -> impl Strategy<Value = String> {
    let key = proptest::sample::select(vec!["a", "b", "a.b", "b.a", "a.b.c", "c", "\"a\""]);
    let value = proptest::sample::select(vec![
        "1",
        "{}",
        "[]",
        "{ a = 1 }",
        "{ a.b = 1 }",
        "[{ b = 1 }]",
        "'x'",
        "{ a = {}, a.b = 1 }",
    ]);
    // Parsers disagree on dotted keys into a table that a header of three parts implies (`[a.b.c]`, then `[a]` with
    // `b.a = 1`), so there are no such headers.
    let header = |key: &str| if key == "a.b.c" { "a.b".to_owned() } else { key.to_owned() };
    (key, value, 0..4).prop_map(move |(key, value, kind)| match kind {
        0 => format!("[{}]\n", header(key)),
        1 => format!("[[{}]]\n", header(key)),
        _ => format!("{key} = {value}\n"),
    })
}

proptest! {
    // Always the same documents: the other parser accepts a few that are not valid, such as `a.b.c = 1` in `[a]` after
    // `[[a.a]]`.
    #![proptest_config(ProptestConfig {
        cases: 300, failure_persistence: None, rng_seed: RngSeed::Fixed(1), ..ProptestConfig::default()
    })]

    #[test]
    fn tables_are_what_toml_says(lines in proptest::collection::vec(line(), 1..9)) {
        let text = lines.concat();
        prop_assert!(agrees(&text), "{}", text);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_loaded_or_rejected(text in "\\PC{0,200}") {
        let _ = load_text("routes.toml", &text, &no_env).map_err(|errors| (errors.to_string(), errors.to_json()));
    }

    #[test]
    fn any_bytes_are_loaded_or_rejected(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        if let Ok(text) = std::str::from_utf8(&bytes) {
            let _ = load_text("routes.toml", text, &no_env).map_err(|errors| errors.to_string());
        }
    }

    #[test]
    fn a_mutated_example_is_loaded_or_rejected(
        at in 0..SHIPPED.len(),
        cut in 0..40_usize,
        insert in "[\\[\\]{}=\"',.\\\\#$a-z0-9\\n *%:/-]{0,12}",
        end in proptest::option::weighted(0.2, 0..SHIPPED.len()),
    ) {
        let mut bytes = SHIPPED.as_bytes().to_vec();
        bytes.splice(at..(at + cut).min(SHIPPED.len()), insert.bytes());
        bytes.truncate(end.unwrap_or(bytes.len()));
        let text = String::from_utf8_lossy(&bytes);
        match load_text("routes.toml", &text, &no_env) {
            Ok(loaded) => drop(run_route_tests(&loaded).to_string()),
            Err(errors) => prop_assert!(!errors.to_string().is_empty()),
        }
    }

    #[test]
    fn a_changed_byte_is_loaded_or_rejected(at in 0..SHIPPED.len(), byte in any::<u8>()) {
        let mut bytes = SHIPPED.as_bytes().to_vec();
        bytes[at] = byte;
        let text = String::from_utf8_lossy(&bytes);
        let _ = load_text("routes.toml", &text, &no_env).map_err(|errors| errors.render(Color::Always));
    }
}
