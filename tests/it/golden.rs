//! Every bad file of `tests/golden/` prints the diagnostics next to it. `BLESS=1 cargo test --test it golden` writes
//! them again; read the difference before you commit it.

#![expect(clippy::expect_used, reason = "a test may fail")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use pointsman::config::{Loaded, load, run_route_tests};

use crate::harness::Authority;

/// The codes that no golden file can cause, and why.
const NOT_GOLDEN: &[(&str, &str)] = &[
    ("too-many", "takes 250 000 routes, 5 000 regexes, 1 000 files or 100 variants: tested in the room"),
    ("certificate-kept", "takes a certificate that was good before: tested in tls.rs"),
    ("certificate-expires-soon", "depends on the day: tested in the room"),
    ("rollout-expires", "depends on the day: tested in the room"),
    ("bad-tls", "nothing that is read can bring it about"),
    ("no-roots", "takes a system without root certificates: tested in the room"),
];

/// A folder of certificates and keys, good and bad, made for each run: the repository contains none.
struct Certificates(tempfile::TempDir);

impl Certificates {
    fn make() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let dir = folder.path();
        let (root, other) = (Authority::new("test root"), Authority::new("other root"));
        let write = |name: &str, text: &str| std::fs::write(dir.join(name), text).expect("a writable folder");
        let (good, second) = (root.leaf(&["a.test"]), root.leaf(&["b.test"]));
        good.write(dir, "good");
        second.write(dir, "second");
        write("cut.crt", &good.cert[..200]);
        write("damaged.crt", &good.cert.replacen("MII", "M!I", 1));
        let lines: Vec<&str> = good.cert.lines().enumerate().filter(|(at, _)| *at != 3).map(|(_, line)| line).collect();
        write("changed.crt", &lines.join("\n"));
        write("empty.pem", "");
        write("encrypted.key", "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n");
        write("unusable.key", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n");
        write("two.key", &format!("{}{}", good.key, second.key));
        write("wrong-order.crt", &format!("{}{}", root.pem, good.cert));
        write("foreign.crt", &format!("{}{}", good.cert, other.pem));
        write("ca.pem", &root.pem);
        root.leaf_until(&["old.test"], 2020).write(dir, "expired");
        root.leaf_from(&["young.test"], 2099).write(dir, "young");
        root.client("nameless", Vec::new()).write(dir, "nameless");
        std::fs::create_dir(dir.join("none")).expect("a writable folder");
        write("none/notes.txt", "");
        second.write(&dir.join("lone"), "lone");
        std::fs::copy(dir.join("good.key"), dir.join("lone/alone.key")).expect("a writable folder");
        Self(folder)
    }

    fn path(&self) -> String {
        self.0.path().display().to_string()
    }
}

fn environment(name: &str, certificates: &Certificates) -> Option<String> {
    match name {
        "POINTSMAN_TEST_HOST" => Some("from the environment".to_owned()),
        "CERTS" => Some(certificates.path()),
        _ => None,
    }
}

fn bad_files() -> Vec<PathBuf> {
    let entries = std::fs::read_dir("tests/golden").expect("the tests run in the package's folder");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("a readable folder").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    paths.sort();
    paths
}

/// The diagnostics of a file: its errors, or its warnings and failed tests.
fn said(path: &Path, certificates: &Certificates) -> String {
    let said = match load(path, &|name| environment(name, certificates)) {
        Err(errors) => errors.to_string(),
        Ok(loaded) => both(&loaded),
    };
    said.replace(&certificates.path(), "CERTS")
}

fn both(loaded: &Loaded) -> String {
    format!("{}{}", loaded.warnings, run_route_tests(loaded))
}

#[test]
fn every_bad_file_prints_its_golden_diagnostics() {
    let bless = std::env::var_os("BLESS").is_some();
    let certificates = Certificates::make();
    let mut wrong = Vec::new();
    let paths = bad_files();
    assert!(paths.len() >= 45, "only {} bad files", paths.len());
    for path in paths {
        let said = said(&path, &certificates);
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
    let certificates = Certificates::make();
    let mut missing: BTreeSet<String> = codes_in("src/config");
    missing.extend(codes_in("src/tls"));
    missing.extend(codes_in("src/identity"));
    assert!(missing.len() > 100, "the source writes its codes in another form than this test expects: {missing:?}");
    for path in bad_files() {
        let text = said(&path, &certificates);
        missing.retain(|code| !text.contains(&format!("[{code}]")));
    }
    missing.retain(|code| NOT_GOLDEN.iter().all(|(known, _)| known != code));
    assert!(missing.is_empty(), "no bad file in tests/golden/ causes {missing:?}");
}

/// The codes that the room can report, from its source.
fn codes_in(folder: &str) -> BTreeSet<String> {
    let mut codes = BTreeSet::new();
    for entry in std::fs::read_dir(folder).expect("the tests run in the package's folder") {
        let path = entry.expect("a readable folder").path();
        if path.is_dir() {
            codes.extend(codes_in(&path.to_string_lossy()));
            continue;
        }
        let text = std::fs::read_to_string(path).expect("a readable file");
        let text = text.split("#[cfg(test)]").next().unwrap_or_default();
        for before in
            ["Finding::error(", "Finding::warning(", "Error::new(", "refuse(context, ", "refuse(\n", "code: ", "=> "]
        {
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
    codes
}
