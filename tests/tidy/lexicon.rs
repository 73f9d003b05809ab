//! One word per thing: the words that the project does not use, why, and the word that it has instead.

use crate::source::{Finding, Source};

/// Names that are no nouns of the domain: whatever finds no place ends up there.
const NO_NOUNS: &[&str] = &["util", "utils", "common", "helper", "helpers", "manager", "managers", "misc", "stuff"];

/// A word that another product uses, and ours. Singular; the plural follows.
const WORDS: &[(&str, &str)] = &[
    ("backend", "an upstream is a named set of endpoints, an endpoint is one address: say which of the two"),
    ("frontend", "a listener is an address that accepts connections"),
    ("cluster", "an upstream is a named set of endpoints running one revision"),
    ("vhost", "a route has a host in its match; there is no object for a host"),
    ("virtualhost", "a route has a host in its match; there is no object for a host"),
    ("toggle", "a flag is the same decision delivered as a header or by API; a kill is the veto"),
    ("killswitch", "the veto above everything is called kill"),
    ("cohort", "a segment is a named audience"),
    ("blacklist", "say deny list: the word says what it does"),
    ("whitelist", "say allow list: the word says what it does"),
    ("slave", "say follower or replica"),
    ("master", "say leader, source or primary"),
    ("util", "name what it does: `util` is no noun of the domain"),
    ("helper", "name what it does: `helper` is no noun of the domain"),
    ("manager", "name what it does: everything manages something"),
    ("misc", "name what it does: `misc` is no noun of the domain"),
];

/// Who speaks with words of their own: a line that names one of them may quote it.
const OTHERS: &[&str] =
    &["haproxy", "nginx", "envoy", "traefik", "caddy", "kubernetes", "hyper-util", "hyper_util", "http_body_util"];

/// Words and phrases of no technical text, and what stands in their place. In `snake_case` names, too.
const PLAIN: &[(&str, &str)] = &[
    ("told", "name the act: sent, logged, reported, passed as an argument"),
    ("tell", "name the act: send, log, report, distinguish"),
    ("tells", "name the act: sends, logs, reports, distinguishes"),
    ("telling", "name the act: sending, logging, reporting"),
    ("whoever", "name who it is: the client, the caller, the operator"),
    ("whomever", "name who it is: the client, the caller, the operator"),
    ("nobody", "name the component: `no request waits`, `unused`, `the client has not read`"),
    ("somebody", "name who it is: an operator, a client"),
    ("anybody", "name who it is: any client, every peer"),
    ("lest", "say `so that … not`"),
    ("became of", "say result or outcome"),
    ("becomes of", "say result or outcome"),
    ("what holds", "say what matches, or what is valid"),
    ("does not hold", "say does not match, or is not valid"),
    ("do not hold", "say do not match, or are not valid"),
];

/// Lines of any file, documents too, that are not in plain technical English.
pub fn dialect(text: &str) -> Vec<Finding> {
    let mut found = Vec::new();
    for (number, line) in text.lines().enumerate() {
        // Most lines have none of these letters: only the others are taken apart.
        if !PLAIN.iter().any(|(word, _)| contains(line, word)) {
            continue;
        }
        let spaced = format!(" {} ", parts(line).join(" "));
        let used = PLAIN.iter().filter(|(word, _)| spaced.contains(&format!(" {word} ")));
        found.extend(used.map(|(word, instead)| Finding { line: number + 1, message: format!("`{word}`: {instead}") }));
    }
    found
}

/// Files and modules with a name that says nothing.
pub fn file_names(file: &Source) -> Vec<Finding> {
    let parts = file.path.split('/').map(|part| part.trim_end_matches(".rs"));
    let mut found: Vec<Finding> = parts
        .filter(|part| NO_NOUNS.contains(part))
        .map(|part| file.at(0, format!("`{part}` is no noun of the domain: name the file after what lives there")))
        .collect();
    for name in NO_NOUNS {
        let declared = format!("mod {name}");
        let offsets = crate::source::words(&file.code, &declared);
        found.extend(offsets.map(|at| file.at(at, format!("module `{name}`: name it after what lives there"))));
    }
    found
}

/// Words that are not in the lexicon, in names, comments and text.
pub fn words(file: &Source) -> Vec<Finding> {
    if file.path == "tests/tidy/lexicon.rs" {
        return Vec::new(); // The one file that must name them.
    }
    let mut found = Vec::new();
    for (number, line) in file.text.lines().enumerate() {
        let lower = line.to_lowercase();
        if OTHERS.iter().any(|other| lower.contains(other)) {
            continue;
        }
        for part in parts(line) {
            let singular = part.strip_suffix('s').unwrap_or(&part);
            if let Some((word, ours)) = WORDS.iter().find(|(word, _)| *word == singular || *word == part) {
                found.push(Finding { line: number + 1, message: format!("`{word}` is not our word: {ours}") });
            }
        }
    }
    found
}

/// Whether the first word of `phrase` stands in `line`, in letters of either case, alone or within another word.
fn contains(line: &str, phrase: &str) -> bool {
    let word = phrase.split(' ').next().unwrap_or(phrase).as_bytes();
    line.as_bytes().windows(word.len()).any(|part| part.eq_ignore_ascii_case(word))
}

/// The words of a line in lower case; `snake_case` and `CamelCase` names are taken apart.
fn parts(line: &str) -> Vec<String> {
    let mut spaced = String::with_capacity(line.len() + 8);
    let mut before_lower = false;
    for letter in line.chars() {
        if !letter.is_alphabetic() || (letter.is_uppercase() && before_lower) {
            spaced.push(' ');
        }
        if letter.is_alphabetic() {
            spaced.extend(letter.to_lowercase());
        }
        before_lower = letter.is_lowercase();
    }
    spaced.split(' ').filter(|part| !part.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::{dialect, file_names, words};
    use crate::source::Source;

    #[test]
    fn names_that_say_nothing_are_found() {
        let count = |path, text| file_names(&Source::new(path, text)).len();
        assert_eq!(count("src/proxy/utils.rs", ""), 1);
        assert_eq!(count("src/common/mod.rs", ""), 1);
        assert_eq!(count("src/proxy/upstream/pool.rs", "mod helpers;"), 1);
        assert_eq!(count("src/proxy/upstream/pool.rs", "mod common_name;"), 0);
    }

    #[test]
    fn words_of_no_technical_text_are_found() {
        for text in ["# The client is told.", "fn nobody_asks() {}", "// What became of it.", "whoever asks, waits"] {
            assert_eq!(dialect(text).len(), 1, "{text}");
        }
        for text in ["holds a connection", "// A teller.", "the retold story", "fn became() {} // a client of it"] {
            assert_eq!(dialect(text).len(), 0, "{text}");
        }
    }

    #[test]
    fn foreign_words_are_found() {
        let count = |text| words(&Source::new("src/proxy/a.rs", text)).len();
        for text in
            ["let backend = 1;", "struct BackendPool;", "/// The clusters.", "\"whitelist\"", "fn pick_master() {}"]
        {
            assert_eq!(count(text), 1, "{text}");
        }
        for text in [
            "// HAProxy calls it a backend.",
            "let backends_ = hyper_util::x;",
            "let mastery = 1;",
            "let upstream = 1;",
        ] {
            assert_eq!(count(text), 0, "{text}");
        }
    }
}
