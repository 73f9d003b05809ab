//! Every bad file of `tests/golden/` says what stands beside it. `BLESS=1 cargo test --test it golden` writes anew what
//! is said; read the difference before you commit it.

#![expect(clippy::expect_used, reason = "a test may fail")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use pointsman::config::{Loaded, load, run_goldens};

/// The codes that no golden file can bring about, and why.
const NOT_GOLDEN: &[(&str, &str)] =
    &[("too-many", "takes 250 000 routes, 5 000 regexes, 1 000 files or 100 variants: tested in the room")];

fn environment(name: &str) -> Option<String> {
    (name == "POINTSMAN_TEST_HOST").then(|| "from the environment".to_owned())
}

fn bad_files() -> Vec<PathBuf> {
    let entries = std::fs::read_dir("tests/golden").expect("the tests run in the package's folder");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("a readable folder").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    paths.sort();
    paths
}

/// What is said about a file: its errors; or its warnings and failed goldens.
fn said(path: &Path) -> String {
    match load(path, &environment) {
        Err(errors) => errors.to_string(),
        Ok(loaded) => both(&loaded),
    }
}

fn both(loaded: &Loaded) -> String {
    format!("{}{}", loaded.warnings, run_goldens(loaded))
}

#[test]
fn every_bad_file_says_what_stands_beside_it() {
    let bless = std::env::var_os("BLESS").is_some();
    let mut wrong = Vec::new();
    let paths = bad_files();
    assert!(paths.len() >= 45, "only {} bad files", paths.len());
    for path in paths {
        let said = said(&path);
        let beside = path.with_extension("txt");
        if bless {
            std::fs::write(&beside, &said).expect("a writable folder");
        }
        let expected = std::fs::read_to_string(&beside).unwrap_or_default();
        if said.is_empty() || said != expected {
            wrong.push(format!("---- {} says\n{said}---- but should\n{expected}", path.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_kind_of_error_has_a_bad_file() {
    let mut missing: BTreeSet<String> = codes_in("src/config");
    for path in bad_files() {
        let text = said(&path);
        missing.retain(|code| !text.contains(&format!("[{code}]")));
    }
    missing.retain(|code| NOT_GOLDEN.iter().all(|(known, _)| known != code));
    assert!(missing.is_empty(), "no bad file in tests/golden/ brings about {missing:?}");
}

/// The codes that the room can report, as its source names them.
fn codes_in(folder: &str) -> BTreeSet<String> {
    let mut codes = BTreeSet::new();
    for entry in std::fs::read_dir(folder).expect("the tests run in the package's folder") {
        let text = std::fs::read_to_string(entry.expect("a readable folder").path()).expect("a readable file");
        let text = text.split("#[cfg(test)]").next().unwrap_or_default();
        for before in ["Finding::error(", "Finding::warning(", "refuse(context, ", "refuse(\n", "code: ", "=> "] {
            for rest in text.split(before).skip(1) {
                let code = rest.trim_start().trim_start_matches("context,").trim_start();
                if let Some((code, _)) = code.strip_prefix('"').and_then(|code| code.split_once('"'))
                    && code.contains('-')
                    && code.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
                {
                    codes.insert(code.to_owned());
                }
            }
        }
    }
    assert!(codes.len() > 30, "the source names its codes otherwise than this test thinks: {codes:?}");
    codes
}
