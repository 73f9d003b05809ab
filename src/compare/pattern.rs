//! The grammar of patterns under `ignore`, `unordered`, `tolerance` and `redact`.
//!
//! ```text
//! pattern = "status" | "transport" | "body" | "header:" name | "trailer:" name | "$" step*
//! name    = a field name, in any case; "*" at its end means any rest
//! step    = "." one | ".." one | "[*]" | quoted | ".." quoted
//! one     = key | "*" | "{id}"
//! key     = letters, digits, "_", "-", "@" or anything not ASCII
//! quoted  = '["' any key, with the escapes \", \\ and \u{…} (the code of a character) '"]'
//! ```
//! `.key` is a member, `..key` a member at any depth, `.*` any member, `.{id}` any member whose key looks like an id
//! (`path.rs`), `[*]` any element of an array. A pattern matches the named values and all values below them. A pattern
//! cannot name a single index or id, because the paths of differences have none.

use std::fmt;
use std::str::CharIndices;

use super::snippet::{is_control, spell};

/// The text of a step to any id.
pub(super) const ANY_ID: &str = "{id}";

/// A pattern for fields.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pattern {
    pub(super) subject: Subject,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Subject {
    Transport,
    Status,
    Header(Name),
    Trailer(Name),
    Body,
    Json(Vec<PathStep>),
}

/// The name of a header or trailer, or a prefix.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Name {
    Is(Box<str>),
    Begins(Box<str>),
}

/// A step from a JSON value down.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum PathStep {
    Key(Box<str>),
    AnyKey,
    /// A key that looks like an id.
    AnyId,
    AnyIndex,
    /// Any number of levels; another step follows.
    Descend,
}

/// An error in a pattern, its position, and a fix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PatternError {
    /// The byte offset of the error.
    pub at: usize,
    /// The error.
    pub message: String,
    /// What to write instead.
    pub help: &'static str,
}

impl fmt::Display for PatternError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (at byte {}): {}", self.message, self.at, self.help)
    }
}

impl std::error::Error for PatternError {}

/// The maximum length of a pattern in bytes; every reported path is shorter.
const LENGTH_MAX: usize = 16_384;

impl Pattern {
    /// Parses a pattern.
    ///
    /// # Errors
    /// The first violation of the grammar, with its position and a fix.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        if text.len() > LENGTH_MAX {
            return Err(error(LENGTH_MAX, "a path is too long", "write at most 16384 bytes; `..key` shortens a path"));
        }
        let subject = match text {
            "transport" => Subject::Transport,
            "status" => Subject::Status,
            "body" => Subject::Body,
            _ => {
                if let Some(name) = text.strip_prefix("header:") {
                    Subject::Header(Name::parse(name, "header:".len())?)
                } else if let Some(name) = text.strip_prefix("trailer:") {
                    Subject::Trailer(Name::parse(name, "trailer:".len())?)
                } else if text.starts_with('$') {
                    Subject::Json(steps(text)?)
                } else {
                    let help = "write `$.member`, `header:name`, `trailer:name`, `status`, `transport` or `body`";
                    return Err(error(0, &format!("`{text}` is not a path of a response"), help));
                }
            }
        };
        Ok(Self { subject })
    }

    /// Whether it matches values in a JSON body: only such patterns can be `unordered` or have a `tolerance`.
    #[must_use]
    pub fn is_json(&self) -> bool {
        matches!(self.subject, Subject::Json(_))
    }
}

impl Name {
    fn parse(text: &str, offset: usize) -> Result<Self, PatternError> {
        let (name, begins) = text.strip_suffix('*').map_or((text, false), |name| (name, true));
        if name.is_empty() && !begins {
            return Err(error(offset, "a field name is missing", "write for example `header:date`"));
        }
        let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'+-.^_`|~".contains(&byte);
        if let Some(at) = name.bytes().position(|byte| !token(byte)) {
            let help = "a field name has letters, digits and `-`; `*` stands at its end only";
            return Err(error(offset + at, "this is not a field name", help));
        }
        let name = name.to_ascii_lowercase().into();
        Ok(if begins { Self::Begins(name) } else { Self::Is(name) })
    }

    pub(super) fn matches(&self, name: &str) -> bool {
        match self {
            Self::Is(own) => **own == *name,
            Self::Begins(own) => name.starts_with(&**own),
        }
    }
}

/// The steps of a path that begins with `$`.
fn steps(text: &str) -> Result<Vec<PathStep>, PatternError> {
    let mut steps = Vec::new();
    let mut at = 1;
    while at < text.len() {
        let rest = &text[at..];
        if let Some(below) = rest.strip_prefix("..") {
            steps.push(PathStep::Descend);
            at += 2;
            if below.starts_with("[\"") {
                at += quoted(text, at, &mut steps)?;
            } else {
                at += member(text, at, &mut steps)?;
            }
        } else if rest.starts_with('.') {
            at += 1 + member(text, at + 1, &mut steps)?;
        } else if rest.starts_with("[*]") {
            steps.push(PathStep::AnyIndex);
            at += "[*]".len();
        } else if rest.starts_with("[\"") {
            at += quoted(text, at, &mut steps)?;
        } else if rest.starts_with('[') {
            let help = "write `[*]` for every element: paths have no indexes; `[\"key\"]` is a member";
            return Err(error(at, "an element cannot be named", help));
        } else {
            return Err(error(at, "a step begins with `.` or `[`", "quote keys with other characters: `$[\"a b\"]`"));
        }
    }
    Ok(steps)
}

/// Parses a key, `*` or `{id}`, and returns its length.
fn member(text: &str, at: usize, steps: &mut Vec<PathStep>) -> Result<usize, PatternError> {
    let rest = &text[at..];
    if rest.starts_with(ANY_ID) {
        steps.push(PathStep::AnyId);
        return Ok(ANY_ID.len());
    }
    if rest.starts_with('*') {
        steps.push(PathStep::AnyKey);
        return Ok(1);
    }
    let length = rest.find(|letter| !plain(letter)).unwrap_or(rest.len());
    if length == 0 {
        return Err(error(
            at,
            "a key is missing",
            "write `$.member`, `*` for any or `{id}` for ids; quote other keys: `$[\"a b\"]`",
        ));
    }
    steps.push(PathStep::Key(rest[..length].into()));
    Ok(length)
}

/// Parses `["key"]`, and returns its length.
fn quoted(text: &str, at: usize, steps: &mut Vec<PathStep>) -> Result<usize, PatternError> {
    let mut key = String::new();
    let mut letters = text[at + 2..].char_indices();
    while let Some((offset, letter)) = letters.next() {
        match letter {
            '"' => {
                if !text[at + 2 + offset..].starts_with("\"]") {
                    return Err(error(at + 3 + offset, "`]` is missing", "write `[\"key\"]`"));
                }
                steps.push(PathStep::Key(key.into()));
                return Ok(2 + offset + 2);
            }
            '\\' => {
                let escaped = match letters.next() {
                    Some((_, letter @ ('"' | '\\'))) => Some(letter),
                    Some((_, 'u')) => coded(&mut letters),
                    Some(_) | None => None,
                };
                let Some(escaped) = escaped else {
                    let help =
                        "only `\\\"`, `\\\\` and for example `\\u{1b}` are escapes; else a character stands for itself";
                    return Err(error(at + 2 + offset, "this is not an escape", help));
                };
                key.push(escaped);
            }
            letter => key.push(letter),
        }
    }
    Err(error(text.len(), "the quote does not end", "write `[\"key\"]`"))
}

/// Parses `{1b}`, and returns the character of that code.
fn coded(letters: &mut CharIndices<'_>) -> Option<char> {
    let rest = letters.as_str();
    let digits = rest.strip_prefix('{')?.split_once('}')?.0;
    let plain = digits.len() <= 6 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    let letter = plain.then(|| u32::from_str_radix(digits, 16).ok()).flatten().and_then(char::from_u32)?;
    letters.nth(digits.len() + 1)?;
    Some(letter)
}

/// Whether a character is allowed in a key without quotes.
fn plain(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || matches!(letter, '_' | '-' | '@') || !letter.is_ascii()
}

/// Writes a member's key as a step.
pub(super) fn write_key(path: &mut String, key: &str) {
    if !key.is_empty() && key.chars().all(|letter| plain(letter) && !is_control(letter)) {
        path.push('.');
        path.push_str(key);
        return;
    }
    path.push_str("[\"");
    for letter in key.chars() {
        if matches!(letter, '"' | '\\') {
            path.push('\\');
        }
        spell(path, letter);
    }
    path.push_str("\"]");
}

fn error(at: usize, message: &str, help: &'static str) -> PatternError {
    PatternError { at, message: message.to_owned(), help }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn valid_patterns_are_parsed() {
        let key = |key: &str| PathStep::Key(key.into());
        for (text, subject) in [
            ("transport", Subject::Transport),
            ("status", Subject::Status),
            ("body", Subject::Body),
            ("header:Date", Subject::Header(Name::Is("date".into()))),
            ("header:x-debug-*", Subject::Header(Name::Begins("x-debug-".into()))),
            ("trailer:grpc-message", Subject::Trailer(Name::Is("grpc-message".into()))),
            ("$", Subject::Json(vec![])),
            ("$.a.b", Subject::Json(vec![key("a"), key("b")])),
            ("$..email", Subject::Json(vec![PathStep::Descend, key("email")])),
            ("$.users.*.name", Subject::Json(vec![key("users"), PathStep::AnyKey, key("name")])),
            ("$.u.{id}.n", Subject::Json(vec![key("u"), PathStep::AnyId, key("n")])),
            ("$..{id}", Subject::Json(vec![PathStep::Descend, PathStep::AnyId])),
            ("$[\"\\u{1b}]0;\\u{202e}\"]", Subject::Json(vec![key("\u{1b}]0;\u{202e}")])),
            ("$[*].größe", Subject::Json(vec![PathStep::AnyIndex, key("größe")])),
            ("$[\"a b\"][\"\"][\"\\\"\\\\\"]", Subject::Json(vec![key("a b"), key(""), key("\"\\")])),
            (
                "$..[\"a.b\"]..*",
                Subject::Json(vec![PathStep::Descend, key("a.b"), PathStep::Descend, PathStep::AnyKey]),
            ),
        ] {
            assert_eq!(Pattern::parse(text).map(|pattern| pattern.subject), Ok(subject), "{text}");
        }
    }

    #[test]
    fn invalid_patterns_have_a_position_and_help() {
        for (text, at, help) in [
            ("", 0, "$.member"),
            ("items", 0, "$.member"),
            ("header:", 7, "header:date"),
            ("header:a b", 8, "letters"),
            ("header:a*b", 8, "at its end only"),
            ("$.", 2, "$.member"),
            ("$..", 3, "$.member"),
            ("$.a.", 4, "$.member"),
            ("$a", 1, "quote"),
            ("$.a b", 3, "quote"),
            ("$.items[0]", 7, "[*]"),
            ("$..[*]", 3, "$.member"),
            ("$[\"a", 4, "[\"key\"]"),
            ("$[\"a\"", 5, "[\"key\"]"),
            ("$[\"\\n\"]", 3, "escapes"),
            ("$[\"\\u001b\"]", 3, "escapes"),
            ("$[\"\\u{d800}\"]", 3, "escapes"),
            ("$[\"\\u{110000}\"]", 3, "escapes"),
            ("$[\"\\u{}\"]", 3, "escapes"),
            ("$[\"\\u{1b\"]", 3, "escapes"),
            ("$.{ids}", 2, "{id}"),
        ] {
            let found = Pattern::parse(text).unwrap_err();
            assert_eq!(found.at, at, "{text}: {found}");
            assert!(found.help.contains(help), "{text}: {found}");
        }
        assert!(Pattern::parse(&format!("$.{}", "a".repeat(20_000))).is_err());
    }

    #[test]
    fn written_keys_are_parsed_again() {
        for key in [
            "a",
            "",
            "a b",
            "\"",
            "\\",
            "ü",
            "*",
            "a.b",
            "[",
            "x-1",
            "{id}",
            "\u{1b}]0;k\u{7}",
            "a\u{9b}",
            "\u{202e}\\u{1b}",
        ] {
            let mut path = "$".to_owned();
            write_key(&mut path, key);
            assert!(!path.chars().any(is_control), "{path:?}");
            assert_eq!(
                Pattern::parse(&path).unwrap().subject,
                Subject::Json(vec![PathStep::Key(key.into())]),
                "{path}"
            );
        }
    }
}
