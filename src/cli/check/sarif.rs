//! SARIF 2.1.0 (OASIS): what code scanners and editors read. Columns count code points, as our diagnostics do.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use serde_json::{Value, json};

use crate::config::{Diagnostic, Diagnostics, Label, Severity};

/// Where the schema of this version is.
const SCHEMA: &str = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json";

/// All diagnostics as one SARIF log. The standard input is called `stdin` when it has no name of its own.
pub(super) fn log(diagnostics: &Diagnostics, stdin: Option<&str>) -> Value {
    let codes: BTreeSet<&str> = diagnostics.iter().map(|diagnostic| diagnostic.code).collect();
    let codes: BTreeMap<&str, usize> = codes.into_iter().zip(0..).collect();
    let rules: Vec<Value> = codes.keys().map(|code| rule(code)).collect();
    let results: Vec<Value> =
        diagnostics.iter().map(|diagnostic| result(diagnostic, codes[diagnostic.code], stdin)).collect();
    json!({
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "pointsman",
                "semanticVersion": env!("CARGO_PKG_VERSION"),
                "rules": rules,
            } },
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    })
}

fn rule(code: &str) -> Value {
    json!({ "id": code, "name": pascal(code), "shortDescription": { "text": code.replace('-', " ") } })
}

/// `unknown-key` as `UnknownKey`.
fn pascal(code: &str) -> String {
    let word = |word: &str| {
        let mut letters = word.chars();
        letters.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(letters).collect::<String>()
    };
    code.split('-').map(word).collect()
}

fn result(diagnostic: &Diagnostic, rule: usize, stdin: Option<&str>) -> Value {
    let level = match diagnostic.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    };
    let help = diagnostic.help.iter().flat_map(|help| help.lines());
    let text = help.fold(diagnostic.message.clone(), |text, help| format!("{text}\nhelp: {help}"));
    let mut value = json!({
        "ruleId": diagnostic.code,
        "ruleIndex": rule,
        "level": level,
        "message": { "text": text },
    });
    let mut labels = diagnostic.labels.iter();
    value["locations"] = labels.next().map(|label| location(label, stdin)).into_iter().collect();
    let others: Vec<Value> = labels
        .zip(1..)
        .map(|(label, id)| {
            let mut place = location(label, stdin);
            place["id"] = json!(id);
            place
        })
        .collect();
    if !others.is_empty() {
        value["relatedLocations"] = others.into();
    }
    value
}

fn location(label: &Label, stdin: Option<&str>) -> Value {
    let name = if stdin == Some(&*label.file) { "stdin" } else { &label.file };
    let mut place = json!({ "physicalLocation": { "artifactLocation": { "uri": uri(name) } } });
    if label.line > 0 {
        let (end_line, end_column) = label.end();
        place["physicalLocation"]["region"] = json!({
            "startLine": label.line,
            "startColumn": label.column,
            "endLine": end_line,
            "endColumn": end_column,
        });
    }
    if !label.text.is_empty() {
        place["message"] = json!({ "text": label.text });
    }
    place
}

/// A path as a URI reference (RFC 3986): relative as it is given, absolute with its scheme.
fn uri(path: &str) -> String {
    let mut uri = if Path::new(path).is_absolute() { "file://".to_owned() } else { String::new() };
    for byte in path.strip_prefix("./").unwrap_or(path).bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            uri.push(char::from(byte));
        } else {
            let _ = write!(uri, "%{byte:02X}"); // writing to memory cannot fail
        }
    }
    uri
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load_text;

    #[test]
    fn the_log_has_its_rules_and_places() {
        let text = "schema = 1\n[[listener]]\naddress = '127.0.0.1:0'\n[[route]]\nname = 'r'\nstable = 'ä'\n[[route]]\nname = 'r'\nrespond = {}\nx = '''\n1\n22'''\n";
        let found = load_text("./a b.toml", text, &|_| None).unwrap_err();
        let log = log(&found, None);
        let run = &log["runs"][0];
        assert_eq!((&log["version"], &run["columnKind"]), (&json!("2.1.0"), &json!("unicodeCodePoints")));
        let rules = run["tool"]["driver"]["rules"].as_array().unwrap();
        let results = run["results"].as_array().unwrap();
        assert_eq!(results.len(), 3);
        for result in results {
            let rule = usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap();
            assert_eq!(rules[rule]["id"], result["ruleId"]);
            let place = &result["locations"][0]["physicalLocation"];
            assert_eq!(place["artifactLocation"]["uri"], "a%20b.toml");
            let region = &place["region"];
            let at = |key: &str| region[key].as_u64().unwrap();
            assert!((at("startLine"), at("startColumn")) < (at("endLine"), at("endColumn")), "{region}");
        }
        let of = |code: &str| results.iter().find(|result| result["ruleId"] == code).unwrap();
        let region = |code: &str| &of(code)["locations"][0]["physicalLocation"]["region"];
        let expected = json!({ "startLine": 6, "startColumn": 10, "endLine": 6, "endColumn": 13 });
        assert_eq!(*region("unknown-upstream"), expected);
        assert_eq!(of("duplicate-name")["relatedLocations"][0]["id"], 1);
        assert_eq!(of("duplicate-name")["relatedLocations"][0]["message"]["text"], "first defined here");
    }

    #[test]
    fn a_whole_file_has_no_region() {
        let found = load_text("<stdin>", "", &|_| None).unwrap_err();
        let log = log(&found, Some("<stdin>"));
        let place = &log["runs"][0]["results"][0]["locations"][0]["physicalLocation"];
        assert_eq!(place["artifactLocation"]["uri"], "stdin");
        assert!(place["region"].is_null());
    }

    #[test]
    fn names() {
        assert_eq!(pascal("bad-address"), "BadAddress");
        assert_eq!(uri("/etc/x y.toml"), "file:///etc/x%20y.toml");
        assert_eq!(uri("../ä.toml"), "../%C3%A4.toml");
    }
}
