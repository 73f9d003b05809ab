//! Hostile files: whatever stands in them, there is an answer, and soon.

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
fn deep_nesting_ends_no_stack() {
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
fn there_is_a_bound_on_everything() {
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
    assert!(errors.contains("it has 50 MiB; at most 32 are read"), "{errors}");
}

#[test]
fn files_that_unfold_are_refused_early() {
    let brackets = format!("a = {}", "[".repeat(5_000_000));
    let errors = from_disk(brackets.as_bytes()).to_string();
    assert!(errors.contains("opened over and over") && errors.contains(":1:10005"), "{errors}");
    let commas = format!("a = [{}]", "1,".repeat(7_000_000));
    assert!(from_disk(commas.as_bytes()).to_string().contains("more than 12 million"));
}

#[test]
fn what_is_no_file_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let said = |path: &Path| load(path, &no_env).unwrap_err().to_string();
    assert!(said(folder.path()).contains("it is a directory"));
    assert!(said(&folder.path().join("missing.toml")).contains("there is no such file"));
    assert!(said(Path::new("/dev/zero")).contains("a device or pipe"));
}

#[test]
fn bytes_that_are_no_text_are_refused() {
    assert!(from_disk(b"schema = 1\n\xff\xfe").to_string().contains("not UTF-8 at line 2 (byte 11)"));
    assert!(!from_disk(&[0; 4096]).is_empty());
    assert!(from_disk(b"\xff\xfes\0c\0h\0e\0m\0a\0").to_string().contains("line 1 (byte 0)"), "UTF-16");
}

#[test]
fn a_parser_of_another_make_agrees() {
    for text in [SHIPPED, "a.b = 1\na.c = 2\n", "[a.b]\n[a]\n", "[a]\nb.c = 1\n[a.b.d]\n", "x = { a.b = 1, a.c = 2 }\n"]
    {
        assert!(agrees(text), "{text}");
    }
}

/// Whether our document and the `toml` crate agree on whether a text is TOML.
fn agrees(text: &str) -> bool {
    let last_good = crate::tls::LastGood::default();
    let mut context = Context::new(&no_env, &last_good);
    let file = context.add(Source { name: "a".into(), text: text.into() });
    Document::parse(&mut context, &compile::FILE, file, text).is_some() == text.parse::<::toml::Table>().is_ok()
}

/// A part of a small TOML document, so that tables meet each other in every way.
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
    // Whether a dotted key may reach into a table that a header of three parts only implied is read differently by
    // parsers (`[a.b.c]`, then `[a]` with `b.a = 1`): such headers are left out.
    let header = |key: &str| if key == "a.b.c" { "a.b".to_owned() } else { key.to_owned() };
    (key, value, 0..4).prop_map(move |(key, value, kind)| match kind {
        0 => format!("[{}]\n", header(key)),
        1 => format!("[[{}]]\n", header(key)),
        _ => format!("{key} = {value}\n"),
    })
}

proptest! {
    // Always the same documents: of rare ones the other parser lets some pass that must not, such as `a.b.c = 1` in `[a]`
    // after `[[a.a]]`.
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
    fn any_text_has_an_answer(text in "\\PC{0,200}") {
        let _ = load_text("routes.toml", &text, &no_env).map_err(|errors| (errors.to_string(), errors.to_json()));
    }

    #[test]
    fn any_bytes_have_an_answer(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        if let Ok(text) = std::str::from_utf8(&bytes) {
            let _ = load_text("routes.toml", text, &no_env).map_err(|errors| errors.to_string());
        }
    }

    #[test]
    fn a_mutated_example_has_an_answer(
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
    fn a_flipped_byte_has_an_answer(at in 0..SHIPPED.len(), byte in any::<u8>()) {
        let mut bytes = SHIPPED.as_bytes().to_vec();
        bytes[at] = byte;
        let text = String::from_utf8_lossy(&bytes);
        let _ = load_text("routes.toml", &text, &no_env).map_err(|errors| errors.render(Color::Always));
    }
}
