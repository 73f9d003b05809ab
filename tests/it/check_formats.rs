//! `check` for machines: its formats, standard input, and quiet mode.

#![expect(clippy::unwrap_used, reason = "a test may fail")]

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Stdio;

use serde_json::Value;

use crate::process::{Finished, finish};

const GOOD: &str = "schema = 1\n[[listener]]\naddress = '127.0.0.1:0'\n[upstream.a]\nendpoints = 'http://10.0.0.1'\n\
                    [[route]]\nname = 'r'\nstable = 'a'\n[[test]]\nrequest = {}\nexpect = { route = 'r' }\n";

fn dir(text: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("routes.toml"), text).unwrap();
    dir
}

#[track_caller]
fn check(dir: &tempfile::TempDir, line: &str, code: i32) -> Finished {
    let words: Vec<&str> = line.split_whitespace().collect();
    let finished = finish(dir.path(), &words);
    assert_eq!(finished.code, code, "`{line}`\n{}\n{}", finished.stdout, finished.stderr);
    finished
}

/// Runs the binary with this standard input.
fn piped(dir: &Path, words: &[&str], input: &[u8]) -> Finished {
    let mut command = crate::process::command(dir, words);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    Finished {
        code: output.status.code().unwrap(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error} in\n{text}"))
}

#[test]
fn github_annotates_the_lines() {
    let dir = dir(&GOOD.replace("stable = 'a'", "stable = 'b'"));
    let finished = check(&dir, "check --format github", 78);
    assert_eq!(
        finished.stdout,
        "::error file=routes.toml,line=8,endLine=8,col=10,endColumn=13,title=unknown-upstream::\
         there is no upstream `b`%0Ahelp: there is `a`\n"
    );
    assert_eq!(finished.stderr, "routes.toml: 1 error\n");
    // A test that fails is an annotation, too.
    fs::write(dir.path().join("routes.toml"), GOOD.replace("route = 'r' }", "status = 404 }")).unwrap();
    let finished = check(&dir, "check --format=github -q", 78);
    assert!(finished.stdout.starts_with("::error file=routes.toml,line=11,"), "{}", finished.stdout);
    assert!(finished.stdout.contains("title=golden-failed::expected status `404`"), "{}", finished.stdout);
    assert_eq!(finished.stderr, "");
    fs::write(dir.path().join("routes.toml"), GOOD).unwrap();
    assert_eq!(check(&dir, "check --format github --quiet", 0).stdout, "");
    assert!(check(&dir, "check --format github", 0).stdout.starts_with("routes.toml: 1 route, 1 upstream"));
}

#[test]
fn sarif_has_a_result_for_each_diagnostic() {
    let dir = dir(&GOOD.replace("'127.0.0.1:0'", "'127.0.0.1:0'\nport = 1"));
    let log = json(&check(&dir, "check --format sarif", 78).stdout);
    let result = &log["runs"][0]["results"][0];
    assert_eq!((&log["version"], &result["ruleId"]), (&Value::from("2.1.0"), &Value::from("unknown-key")));
    let place = &result["locations"][0]["physicalLocation"];
    assert_eq!((&place["artifactLocation"]["uri"], &place["region"]["startLine"]), (&"routes.toml".into(), &4.into()));
    fs::write(dir.path().join("routes.toml"), GOOD.replace("'r' }", "'r', status = 404 }")).unwrap();
    let log = json(&check(&dir, "check --format sarif", 78).stdout);
    assert_eq!(log["runs"][0]["results"][0]["ruleId"], "golden-failed");
    fs::write(dir.path().join("routes.toml"), GOOD).unwrap();
    let log = json(&check(&dir, "check --format sarif", 0).stdout);
    assert_eq!(log["runs"][0]["results"], Value::Array(Vec::new()));
}

#[test]
fn json_is_one_format_with_two_names() {
    let dir = dir(GOOD);
    assert_eq!(check(&dir, "check --json", 0).stdout, check(&dir, "check --format json", 0).stdout);
    check(&dir, "check --json --format text", 64);
    check(&dir, "check --format yaml", 64);
    check(&dir, "check routes.toml --stdin-name edge.toml", 64);
}

#[test]
fn quiet_prints_diagnostics_only() {
    let dir = dir(GOOD);
    let finished = check(&dir, "check -q", 0);
    assert_eq!((finished.stdout.as_str(), finished.stderr.as_str()), ("", ""));
    fs::write(dir.path().join("routes.toml"), GOOD.replace("stable = 'a'", "stable = 'b'")).unwrap();
    let finished = check(&dir, "check --quiet", 78);
    assert!(finished.stderr.starts_with("error[unknown-upstream]"), "{}", finished.stderr);
    assert!(!finished.stderr.contains("1 error") && finished.stdout.is_empty(), "{}", finished.stderr);
}

#[test]
fn standard_input_is_checked() {
    let dir = dir("");
    let good = piped(dir.path(), &["check", "-"], GOOD.as_bytes());
    assert_eq!((good.code, good.stdout.as_str()), (0, "<stdin>: 1 route, 1 upstream, 1 test passed\n"));
    let bad = GOOD.replace("stable = 'a'", "stable = 'b'");
    let text = piped(dir.path(), &["check", "-"], bad.as_bytes());
    assert!(text.code == 78 && text.stderr.contains("--> <stdin>:8:10"), "{}", text.stderr);
    let github = piped(dir.path(), &["check", "-", "--format", "github"], bad.as_bytes()).stdout;
    assert!(github.starts_with("::error title=unknown-upstream::"), "{github}");
    let sarif = json(&piped(dir.path(), &["check", "-", "--format", "sarif"], bad.as_bytes()).stdout);
    let uri = |log: &Value| {
        log["runs"][0]["results"][0]["locations"][0]["physicalLocation"]["artifactLocation"]["uri"].clone()
    };
    assert_eq!(uri(&sarif), "stdin");
    let words = ["check", "-", "--stdin-name", "deploy/edge.toml", "--format"];
    let named = json(&piped(dir.path(), &[&words[..], &["sarif"]].concat(), bad.as_bytes()).stdout);
    assert_eq!(uri(&named), "deploy/edge.toml");
    let named = piped(dir.path(), &[&words[..], &["github"]].concat(), bad.as_bytes()).stdout;
    assert!(named.starts_with("::error file=deploy/edge.toml,line=8,"), "{named}");
    let latin = piped(dir.path(), &["check", "-"], b"schema = 1 # \xe4\n");
    assert!(latin.code == 78 && latin.stderr.contains("`<stdin>` is not UTF-8 at line 1"), "{}", latin.stderr);
    assert_eq!(piped(dir.path(), &["check", "-"], b"").code, 78);
}

#[test]
fn includes_of_standard_input_are_relative_to_the_working_directory() {
    let dir = dir("");
    fs::create_dir(dir.path().join("deploy")).unwrap();
    let (first, rest) = GOOD.split_at(GOOD.find("[upstream").unwrap());
    fs::write(dir.path().join("more.toml"), rest).unwrap();
    fs::write(dir.path().join("deploy/more.toml"), rest).unwrap();
    let text = format!("include = 'more.toml'\n{first}");
    let here = piped(dir.path(), &["check", "-"], text.as_bytes());
    assert_eq!(here.code, 0, "{}", here.stderr);
    fs::remove_file(dir.path().join("more.toml")).unwrap();
    let there = piped(dir.path(), &["check", "-", "--stdin-name", "deploy/routes.toml"], text.as_bytes());
    assert_eq!(there.code, 0, "{}", there.stderr);
    assert_eq!(piped(dir.path(), &["check", "-"], text.as_bytes()).code, 78);
}
