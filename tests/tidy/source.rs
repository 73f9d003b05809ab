//! A Rust file as the rules see it: its text, its code with comments and literals blanked out, and its test lines.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

/// One file.
pub struct Source {
    /// From the package's folder, with `/`.
    pub path: String,
    /// The text as it is.
    pub text: String,
    /// The same length in lines and bytes: comments, strings and characters are spaces.
    pub code: String,
    /// As `code`, with the contents of strings kept.
    pub code_and_strings: String,
    /// Per line: does it belong to a test?
    pub test: Vec<bool>,
}

/// What a rule found, on a line counted from 1.
pub struct Finding {
    /// The line.
    pub line: usize,
    /// What is wrong and what to do.
    pub message: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.line, self.message)
    }
}

impl Source {
    /// Reads `text` as the file `path`.
    pub fn new(path: &str, text: &str) -> Self {
        let (code, code_and_strings) = blank(text);
        let mut tested = test_lines(&code);
        if path.ends_with("/tests.rs") || path.contains("/tests/") || !path.starts_with("src/") {
            tested.fill(true);
        }
        Self { path: path.to_owned(), text: text.to_owned(), code, code_and_strings, test: tested }
    }

    /// The room: the first folder below `src`, or the file's own name there.
    pub fn room(&self) -> &str {
        let below = self.path.strip_prefix("src/").unwrap_or(&self.path);
        below.split('/').next().unwrap_or(below).trim_end_matches(".rs")
    }

    /// The line of a byte offset, from 1.
    pub fn line_of(&self, offset: usize) -> usize {
        self.code[..offset].matches('\n').count() + 1
    }

    /// Is the code at this offset test code?
    pub fn is_test(&self, offset: usize) -> bool {
        self.test.get(self.line_of(offset) - 1).copied().unwrap_or(false)
    }

    /// A finding at a byte offset.
    pub fn at(&self, offset: usize, message: impl Into<String>) -> Finding {
        Finding { line: self.line_of(offset), message: message.into() }
    }
}

/// Every Rust file below `folders` of the package, in order.
pub fn tree(folders: &[&str]) -> Vec<Source> {
    files(folders, &["rs"]).iter().map(|(name, text)| Source::new(name, text)).collect()
}

/// Name and text of every file with one of these endings below `folders` of the package, in order.
pub fn files(folders: &[&str], endings: &[&str]) -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths = Vec::new();
    for folder in folders {
        walk(&root.join(folder), endings, &mut paths);
    }
    paths.sort();
    paths
        .iter()
        .map(|path| {
            let name = path.strip_prefix(root).unwrap_or(path).to_string_lossy().replace('\\', "/");
            let bytes = fs::read(path).unwrap_or_else(|error| panic!("{name}: {error}"));
            (name, String::from_utf8_lossy(&bytes).into_owned()) // Some goldens are not UTF-8.
        })
        .collect()
}

/// A file of the package as text.
pub fn read(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The names of `[dependencies]`, as Rust writes them.
pub fn dependencies(manifest: &str) -> Vec<String> {
    manifest
        .lines()
        .skip_while(|line| line.trim() != "[dependencies]")
        .skip(1)
        .take_while(|line| !line.starts_with('['))
        .filter_map(|line| line.split_once('='))
        .map(|(name, _)| name.trim().replace('-', "_"))
        .filter(|name| !name.starts_with('#'))
        .collect()
}

fn walk(folder: &Path, endings: &[&str], found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        if path.is_dir() && path.file_name().is_some_and(|name| name != "target" && name != "corpus") {
            walk(&path, endings, found);
        } else if path.extension().is_some_and(|ending| endings.iter().any(|wanted| ending == *wanted)) {
            found.push(path);
        }
    }
}

/// Where a word stands in `code` as a whole word.
pub fn words<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let part = |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
    code.match_indices(word).map(|(at, _)| at).filter(move |at| {
        let bytes = code.as_bytes();
        let before = at.checked_sub(1).and_then(|before| bytes.get(before));
        !part(before) && !part(bytes.get(at + word.len()))
    })
}

/// The offset after the brace that closes the one at `open`.
pub fn closing(code: &str, open: usize) -> usize {
    let mut depth = 0_usize;
    for (at, byte) in code.bytes().enumerate().skip(open) {
        match byte {
            b'{' => depth += 1,
            b'}' if depth <= 1 => return at + 1,
            b'}' => depth -= 1,
            _ => {}
        }
    }
    code.len()
}

/// Marks the lines of items under `#[cfg(test)]`.
fn test_lines(code: &str) -> Vec<bool> {
    let mut lines = vec![false; code.lines().count() + 1];
    let line_of = |offset: usize| code[..offset].matches('\n').count();
    for (start, _) in code.match_indices("#[cfg(test)]") {
        let end = match code[start..].find(['{', ';']).map(|at| at + start) {
            Some(at) if code.as_bytes()[at] == b'{' => closing(code, at),
            Some(at) => at + 1,
            None => code.len(),
        };
        lines[line_of(start)..=line_of(end)].fill(true);
    }
    lines
}

/// Blanks comments and literals; the second text keeps what stands in strings.
fn blank(text: &str) -> (String, String) {
    let bytes = text.as_bytes();
    let (mut code, mut kept) = (bytes.to_vec(), bytes.to_vec());
    let mut at = 0;
    while at < bytes.len() {
        let (end, comment) = literal(bytes, at);
        if end == at {
            at += 1;
            continue;
        }
        wipe(&mut code[at..end]);
        if comment {
            wipe(&mut kept[at..end]);
        }
        at = end;
    }
    // Only whole literals were replaced, by ASCII: nothing is lost.
    (String::from_utf8_lossy(&code).into_owned(), String::from_utf8_lossy(&kept).into_owned())
}

fn wipe(bytes: &mut [u8]) {
    bytes.iter_mut().filter(|byte| **byte != b'\n').for_each(|byte| *byte = b' ');
}

/// The end of the comment or literal that begins at `at`, or `at` itself, and whether it is a comment.
fn literal(bytes: &[u8], at: usize) -> (usize, bool) {
    let rest = &bytes[at..];
    let in_word = at > 0 && (bytes[at - 1].is_ascii_alphanumeric() || bytes[at - 1] == b'_');
    if rest.starts_with(b"//") {
        (at + rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len()), true)
    } else if rest.starts_with(b"/*") {
        (at + block_comment(rest), true)
    } else if rest[0] == b'"' {
        (at + string(rest), false)
    } else if !in_word && matches!(rest[0], b'r' | b'b' | b'c') {
        (at + prefixed_string(rest), false)
    } else if rest[0] == b'\'' {
        (at + character(rest), false)
    } else {
        (at, false)
    }
}

fn block_comment(rest: &[u8]) -> usize {
    let (mut at, mut depth) = (2, 1);
    while at < rest.len() && depth > 0 {
        if rest[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if rest[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
        } else {
            at += 1;
        }
    }
    at
}

fn string(rest: &[u8]) -> usize {
    let mut at = 1;
    while at < rest.len() && rest[at] != b'"' {
        at += if rest[at] == b'\\' { 2 } else { 1 };
    }
    (at + 1).min(rest.len())
}

/// `b"…"`, `r"…"`, `br#"…"#`; 0 where none begins.
fn prefixed_string(rest: &[u8]) -> usize {
    let prefix = rest.iter().take_while(|byte| matches!(byte, b'r' | b'b' | b'c')).count();
    let hashes = rest[prefix..].iter().take_while(|byte| **byte == b'#').count();
    let open = prefix + hashes;
    if prefix > 2 || rest.get(open) != Some(&b'"') {
        return 0;
    }
    if !rest[..prefix].contains(&b'r') {
        return if hashes == 0 { prefix + string(&rest[prefix..]) } else { 0 };
    }
    let mut close = vec![b'"'];
    close.resize(hashes + 1, b'#');
    let body = &rest[open + 1..];
    body.windows(close.len()).position(|window| window == close).map_or(rest.len(), |at| open + 1 + at + close.len())
}

/// A character; 0 for a lifetime.
fn character(rest: &[u8]) -> usize {
    if rest.get(1) == Some(&b'\\') {
        return rest.iter().skip(3).position(|byte| *byte == b'\'').map_or(0, |at| at + 4);
    }
    let width = std::str::from_utf8(&rest[1..rest.len().min(5)])
        .or_else(|error| std::str::from_utf8(&rest[1..=error.valid_up_to()]))
        .ok()
        .and_then(|text| text.chars().next())
        .map_or(0, char::len_utf8);
    if width > 0 && rest.get(1 + width) == Some(&b'\'') { width + 2 } else { 0 }
}

#[test]
fn comments_and_literals_are_blank() {
    let text =
        "let a = \"fn {\"; // fn {\nlet b = r#\"}\"#; /* { /* } */ */ let c = '{'; let d: &'static str = b\"{\"; 'é'";
    let source = Source::new("src/a.rs", text);
    assert_eq!(source.code.len(), text.len());
    assert!(!source.code.contains(['{', '}', '"']), "{}", source.code);
    assert!(source.code.contains("'static") && source.code.contains("let c"), "{}", source.code);
    assert!(source.code_and_strings.contains("\"fn {\"") && !source.code_and_strings.contains("/*"));
}

#[test]
fn tests_are_distinguished_from_the_rest() {
    let source = Source::new("src/a.rs", "fn a() {}\n#[cfg(test)]\nmod tests {\n    fn b() {}\n}\nfn c() {}\n");
    assert_eq!(source.test[..6], [false, true, true, true, true, false]);
    assert!(Source::new("src/route/tests.rs", "fn a() {}").test[0]);
    assert!(Source::new("tests/it/a.rs", "fn a() {}").test[0]);
}

#[test]
fn dependencies_are_read_from_the_manifest() {
    let manifest = "[package]\nname = \"a\"\n[dependencies]\nxxhash-rust = \"1\"\nhttp = { version = \"1\" }\n[dev-dependencies]\nh2 = \"1\"\n";
    assert_eq!(dependencies(manifest), ["xxhash_rust", "http"]);
}
