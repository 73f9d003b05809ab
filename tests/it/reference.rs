//! The reference agrees with the code: generated parts are generated again and compared (`BLESS=1` writes them),
//! hand-written tables are complete, examples pass `check`, and links lead to files and headings that exist.

mod examples;
mod generated;
mod keys;
mod links;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use pointsman::config::schema;

use crate::deploy::{files, read};

/// The pages of the reference.
const FOLDER: &str = "docs/reference";
/// The access log as JSON: each field is written by name.
const JSON_LINE: &str = "src/telemetry/line.rs";

#[test]
fn generated_parts_are_what_the_code_says() {
    let mut stale = Vec::new();
    for path in files(Path::new(FOLDER), ".md") {
        let page = read(&path);
        let renewed = generated::renew(&page);
        if std::env::var_os("BLESS").is_some() {
            fs::write(&path, renewed).expect("a writable folder");
        } else if renewed != page {
            let changed = renewed.lines().find(|line| !page.lines().any(|old| old == *line)).unwrap_or_default();
            stale.push(format!("{}: {changed}", path.display()));
        }
    }
    assert!(stale.is_empty(), "BLESS=1 renews the generated parts of {stale:#?}");
}

#[test]
fn routes_md_has_every_table_of_the_schema_once() {
    let page = read("docs/reference/routes.md");
    let requests = generated::requests(&page);
    let written: Vec<&str> = requests.iter().filter_map(|request| request.strip_prefix("keys ")).collect();
    let schema = schema();
    let missing: Vec<String> = keys::tables(&schema)
        .into_iter()
        .filter(|table| !written.iter().any(|path| keys::is_alike(&schema, path, table)))
        .collect();
    assert!(missing.is_empty(), "docs/reference/routes.md has no `<!-- generated: keys PATH -->` for {missing:?}");
}

#[test]
fn metrics_md_has_every_family_and_every_label_value_once() {
    let page = read("docs/reference/metrics.md");
    let requests = generated::requests(&page);
    let prefixes: Vec<&str> = requests
        .iter()
        .filter_map(|request| request.strip_prefix("metrics "))
        .flat_map(str::split_whitespace)
        .collect();
    for family in generated::families() {
        let homes = prefixes.iter().filter(|prefix| family.name.starts_with(**prefix)).count();
        assert_eq!(homes, 1, "`{}` is in {homes} tables of docs/reference/metrics.md", family.name);
    }
    let pages = page + &read("docs/reference/limits.md");
    let unknown: Vec<String> =
        generated::label_values().into_iter().filter(|value| !pages.contains(&format!("`{value}`"))).collect();
    assert!(unknown.is_empty(), "metrics.md and limits.md do not explain the label values {unknown:?}");
}

#[test]
fn limits_md_has_every_limit_with_its_default() {
    let page = read("docs/reference/limits.md");
    let schema = schema();
    for path in ["listener.limits", "upstream.limits", "route.limits"] {
        for row in keys::rows(&schema, path) {
            let begin = format!("| `{}` | {} |", row.key, row.default);
            assert!(page.contains(&begin), "docs/reference/limits.md has no row `{begin}`");
        }
    }
}

#[test]
fn logs_md_has_the_fields_that_are_written() {
    let page = read("docs/reference/logs.md");
    let table = page.lines().skip_while(|line| *line != "## Fields").skip_while(|line| !line.starts_with("| `"));
    let columns = table.take_while(|line| line.starts_with('|')).filter_map(|row| row.split(" | ").next());
    let explained: BTreeSet<&str> = columns.flat_map(|names| names.split('`').skip(1).step_by(2)).collect();
    let code = read(JSON_LINE);
    let code = code.split("#[cfg(test)]").next().unwrap_or_default();
    let names = code.split("(out, \"").skip(1).filter_map(|rest| rest.split('"').next());
    let is_name = |name: &&str| name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    // The first field is part of a longer literal.
    let written: BTreeSet<&str> = names.filter(is_name).chain(["time"]).collect();
    assert_eq!(explained, written, "the fields in docs/reference/logs.md, and those that {JSON_LINE} writes");
}

#[test]
fn cli_md_has_every_command_and_every_exit_code() {
    let page = read("docs/reference/cli.md");
    let help = generated::help("");
    let commands = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    // Further lines of a description are indented more.
    let names = commands.filter_map(|line| line.strip_prefix("  ").filter(|line| !line.starts_with(' ')));
    for name in names.filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "help") {
        assert!(page.contains(&format!("<!-- generated: help {name} -->")), "docs/reference/cli.md has no `{name}`");
    }
    let codes = help.lines().skip_while(|line| *line != "EXIT CODES").skip(1).take_while(|line| !line.is_empty());
    for code in codes.filter_map(|line| line.split_whitespace().next()).filter(|word| word.parse::<u8>().is_ok()) {
        assert!(page.contains(&format!("\n| {code} |")), "docs/reference/cli.md does not explain exit code {code}");
    }
}

#[test]
fn examples_pass_check() {
    let folder = examples::Folder::make();
    let mut faults = Vec::new();
    let pages = files(Path::new("docs"), ".md").into_iter().chain(["README.md".into()]);
    for path in pages {
        for example in examples::of(&read(&path)) {
            let complaints = folder.check(&example.text);
            if !complaints.is_empty() {
                faults.push(format!("{}:{}:\n{complaints}", path.display(), example.line));
            }
        }
    }
    assert!(faults.is_empty(), "examples that `check` refuses:\n{}", faults.join("\n"));
}

#[test]
fn links_lead_somewhere() {
    let mut pages = files(Path::new("docs"), ".md");
    for page in ["README.md", "SECURITY.md", "CONTRIBUTING.md", "ARCHITECTURE.md"] {
        pages.extend(Some(page.into()).filter(|path: &std::path::PathBuf| path.exists()));
    }
    let broken: Vec<String> = pages.iter().flat_map(|page| links::broken(page)).collect();
    assert!(broken.is_empty(), "links that lead nowhere: {broken:#?}");
}
