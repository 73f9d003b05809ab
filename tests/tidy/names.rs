//! Names of types and parameters: a type's name stands for one type in the whole crate, and a parameter has one name.

use std::collections::BTreeMap;

use crate::source::{Finding, Source, words};

const ITEMS: &[&str] = &["struct", "enum", "trait", "type", "union"];

/// Type names that two files define. Types that only their own file sees may share a name.
pub fn defined_twice(files: &[Source]) -> Vec<String> {
    let mut places: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for file in files {
        let mut offset = 0;
        for line in file.code.split_inclusive('\n') {
            let at = offset;
            offset += line.len();
            let Some(name) = visible_type(line).filter(|_| !file.is_test(at)) else { continue };
            places.entry(name.to_owned()).or_default().push(format!("{}:{}", file.path, file.line_of(at)));
        }
    }
    places
        .into_iter()
        .filter(|(_, places)| places.len() > 1)
        .map(|(name, places)| {
            format!("`{name}` is defined in {}: qualify each by what it is for", places.join(" and "))
        })
        .collect()
}

/// The type that a line at the top level of a file defines for other files.
fn visible_type(line: &str) -> Option<&str> {
    let rest = line.strip_prefix("pub")?;
    let rest = match rest.strip_prefix('(') {
        Some(scope) => scope.split_once(')')?.1,
        None => rest,
    };
    let (item, rest) = rest.trim_start().split_once(' ')?;
    let end = rest.find(|letter: char| !(letter.is_alphanumeric() || letter == '_')).unwrap_or(rest.len());
    ITEMS.contains(&item).then_some(&rest[..end])
}

/// Functions with a tuple among their parameters: it has a name for each part and none for the whole.
pub fn tuple_parameters(file: &Source) -> Vec<Finding> {
    let code = file.code.as_str();
    let mut found = Vec::new();
    for start in words(code, "fn") {
        let Some(open) = parameters(code, start) else { continue };
        if patterns(code, open).any(|pattern| pattern.starts_with('(')) {
            let message = "a tuple as a parameter: pass a value with a name, such as `Target { upstream, endpoint }`";
            found.push(file.at(start, message));
        }
    }
    found
}

/// The offset after the parenthesis that opens the parameters of the function at `start`; `None` for a type `fn(…)`.
fn parameters(code: &str, start: usize) -> Option<usize> {
    let rest = &code[start + 2..];
    let name = rest.trim_start();
    if !name.starts_with(|letter: char| letter.is_alphabetic() || letter == '_') {
        return None;
    }
    let (mut angles, mut before) = (0_i32, ' ');
    for (at, letter) in rest.char_indices() {
        match letter {
            '<' => angles += 1,
            '>' if before != '-' => angles -= 1,
            '(' if angles == 0 => return Some(start + 2 + at + 1),
            _ => {}
        }
        before = letter;
    }
    None
}

/// Each parameter from `open` on to the parenthesis that closes them.
fn patterns(code: &str, open: usize) -> impl Iterator<Item = &str> {
    let (mut depth, mut begin, mut before) = (0_i32, open, ' ');
    let mut found = Vec::new();
    for (at, letter) in code[open..].char_indices().map(|(at, letter)| (at + open, letter)) {
        match letter {
            '(' | '[' | '{' | '<' => depth += 1,
            ')' if depth == 0 => {
                found.push(&code[begin..at]);
                break;
            }
            '>' if before == '-' || before == '=' => {}
            ')' | ']' | '}' | '>' => depth -= 1,
            ',' if depth == 0 => {
                found.push(&code[begin..at]);
                begin = at + 1;
            }
            _ => {}
        }
        before = letter;
    }
    found.into_iter().map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::{defined_twice, tuple_parameters};
    use crate::source::Source;

    #[test]
    fn a_type_name_of_two_files_is_found() {
        let twice = |one, other| defined_twice(&[Source::new("src/a.rs", one), Source::new("src/b.rs", other)]).len();
        assert_eq!(twice("pub struct Answer;", "pub(crate) enum Answer<'a> { A(&'a u8) }"), 1);
        assert_eq!(twice("pub struct Answer;", "pub(super) type Answer = u8;"), 1);
        assert_eq!(twice("pub struct Answer;", "struct Answer;"), 0, "that one is private");
        assert_eq!(twice("pub struct Answer;", "pub use crate::a::Answer;"), 0);
        assert_eq!(twice("pub struct Answer;", "pub struct Answers;\npub fn answer() -> Answer {}"), 0);
        assert_eq!(twice("pub struct Answer;", "#[cfg(test)]\nmod tests {\npub struct Answer;\n}"), 0);
        assert_eq!(twice("pub struct Answer;", "mod inner {\n    pub struct Answer;\n}"), 0);
    }

    #[test]
    fn a_tuple_parameter_is_found() {
        let count = |text| tuple_parameters(&Source::new("src/a.rs", text)).len();
        assert_eq!(count("fn a((b, c): (u8, u8)) {}"), 1);
        assert_eq!(count("fn a<F: Fn(u8) -> u8>(f: F, (b, mut c): (u8, u8)) -> u8 { f(b) }"), 1);
        assert_eq!(count("impl A {\n    pub fn a(&self,\n        (b, c): &(u8, u8),\n    ) {}\n}"), 1);
        assert_eq!(count("fn a(b: (u8, u8), f: impl Fn((u8, u8)) -> u8) {}"), 0, "it has a name");
        assert_eq!(count("fn a(f: fn((u8, u8)) -> u8) { for (a, b) in c {} }"), 0);
        assert_eq!(count("fn a(Target { upstream, .. }: Target<'_>) {}"), 0);
        assert_eq!(count("fn a() { pairs.map(|(a, b)| a + b); }"), 0);
    }
}
