//! Paths: patterns and the normal form. The proxy matches and forwards the same normal path.
//!
//! Escapes of unreserved characters are decoded (RFC 3986 §6.2.2.2: `%63` is `c`, `%7E` is `~`, `%2e` is a dot), then
//! dot segments are resolved (§5.2.4). Nothing else is decoded, and nothing is decoded twice. Escapes of bytes beyond
//! ASCII have upper-case hex digits (§6.2.2.1); those of reserved characters, such as `%2f`, are not changed. A path
//! with a dot segment that only some servers recognise, behind `;` or an encoded slash, is rejected: `/..;/x`,
//! `/a/..%2fx` and `/a\..\x`. Otherwise an upstream could interpret the path differently than the proxy.

use std::borrow::Cow;

use regex::Regex;

use super::query::escaped;

/// A path pattern.
#[derive(Clone, Debug)]
pub enum PathPattern {
    /// Exactly this.
    Exact(String),
    /// `/x/*`: by element. Stores `/x` (empty for `/*`).
    Prefix(String),
    /// A regex that must match the whole path.
    Regex(Regex),
}

impl PathPattern {
    /// The number of bytes of a normal path that the pattern covers, if it matches: the whole path for exact patterns
    /// and regexes. For explanations; the index does not try each pattern.
    #[must_use]
    pub fn covers(&self, path: &str) -> Option<usize> {
        match self {
            Self::Exact(exact) => (exact == path).then_some(path.len()),
            Self::Prefix(prefix) => {
                let rest = path.strip_prefix(prefix.as_str())?;
                (rest.is_empty() || rest.starts_with('/') || path == "*").then_some(prefix.len())
            }
            Self::Regex(regex) => whole(regex).is_match(path).then_some(path.len()),
        }
    }
}

impl std::fmt::Display for PathPattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exact(exact) => f.write_str(exact),
            Self::Prefix(prefix) => write!(f, "{prefix}/*"),
            Self::Regex(regex) => write!(f, "regex {regex}"),
        }
    }
}

/// The regex, anchored at both ends. A regex that cannot be anchored (it ends in a comment under `(?x)`) is not
/// changed.
pub(in crate::route) fn whole(regex: &Regex) -> Regex {
    Regex::new(&format!(r"\A(?:{regex})\z")).unwrap_or_else(|_| regex.clone())
}

/// The policy for `%2f`, `%5c` and `\` in a path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EncodedSlash {
    /// Not changed; never a separator.
    #[default]
    Keep,
    /// 400.
    Reject,
}

/// A path in normal form.
pub type NormalPath<'a> = Cow<'a, str>;

/// Why a path has no normal form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathError {
    /// Does not begin with `/` and is not `*`.
    NotAbsolute,
    /// Goes above the root.
    AboveRoot,
    /// An encoded or literal slash that the policy rejects.
    EncodedSlash,
    /// A byte that is not allowed, a `%` without two hex digits, `%00`, or a hidden dot segment.
    IllegalByte,
}

impl std::fmt::Display for PathError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::NotAbsolute => "the path does not begin with /",
            Self::AboveRoot => "the path goes above the root",
            Self::EncodedSlash => "the path has an encoded slash or a backslash, which encoded_slash rejects",
            Self::IllegalByte => "the path has a byte, an escape or a hidden dot segment that is not allowed",
        })
    }
}

impl std::error::Error for PathError {}

/// The normal form: unreserved characters decoded, dot segments resolved, nothing else decoded, duplicate slashes kept.
/// Borrows if the path is already normal. The query is not part of `path`.
///
/// # Errors
/// See [`PathError`]; each is a 400.
pub fn normal_path(path: &str, encoded_slash: EncodedSlash) -> Result<NormalPath<'_>, PathError> {
    if path == "*" {
        return Ok(Cow::Borrowed(path));
    }
    if !path.starts_with('/') {
        return Err(PathError::NotAbsolute);
    }
    match scan(path.as_bytes())? {
        Scan::Normal => Ok(Cow::Borrowed(path)),
        Scan::Dubious => resolve(path, encoded_slash),
    }
}

/// Whether [`normal_path`] borrows these bytes. `false` for some of those with a dot: it is sure only after a look at
/// their elements.
#[must_use]
#[inline]
pub fn is_normal_path(path: &[u8]) -> bool {
    // One pass without a branch: what the bytes are together.
    let seen = path.iter().fold(0, |seen, byte| seen | BYTES[usize::from(*byte)] as u8);
    path.first() == Some(&b'/') && seen <= Byte::Slash as u8
}

/// The result of the first scan of a path.
enum Scan {
    /// No escape, no backslash, no element that begins with a dot: the path is normal.
    Normal,
    /// Must be checked element by element.
    Dubious,
}

/// The class of a byte in the first scan. Those of a normal path come first, each a bit of its own.
#[derive(Clone, Copy, PartialEq)]
#[repr(u8)]
enum Byte {
    Plain = 0,
    Slash = 1,
    Dot = 2,
    Dubious = 4,
    Illegal = 8,
}

/// The class of each byte value.
const BYTES: [Byte; 256] = {
    let mut table = [Byte::Plain; 256];
    let mut i = 0;
    while i < 256 {
        if i <= 0x20 || i >= 0x7f {
            table[i] = Byte::Illegal;
        }
        i += 1;
    }
    table[b'#' as usize] = Byte::Illegal;
    table[b'?' as usize] = Byte::Illegal;
    table[b'/' as usize] = Byte::Slash;
    table[b'.' as usize] = Byte::Dot;
    table[b'%' as usize] = Byte::Dubious;
    table[b'\\' as usize] = Byte::Dubious;
    table
};

fn scan(path: &[u8]) -> Result<Scan, PathError> {
    let (mut found, mut before) = (Scan::Normal, Byte::Plain);
    for &byte in path {
        let class = BYTES[usize::from(byte)];
        match class {
            Byte::Plain | Byte::Slash => {}
            Byte::Dot if before != Byte::Slash => {}
            Byte::Dot | Byte::Dubious => found = Scan::Dubious,
            Byte::Illegal => return Err(PathError::IllegalByte),
        }
        before = class;
    }
    Ok(found)
}

/// The kind of a path element.
#[derive(Clone, Copy, PartialEq)]
enum Element {
    /// A name; may be empty.
    Name,
    /// `.`
    Here,
    /// `..`
    Up,
}

/// Decodes and resolves element by element.
fn resolve(path: &str, encoded_slash: EncodedSlash) -> Result<NormalPath<'_>, PathError> {
    // Nothing is copied before the first change.
    let mut kept = 0;
    let mut resolved: Option<String> = None;
    let mut elements = path[1..].split('/').peekable();
    while let Some(element) = elements.next() {
        let last = elements.peek().is_none();
        let kind = classify(element.as_bytes(), encoded_slash)?;
        if kind == Element::Name {
            let needless = needless_escape(element);
            if resolved.is_none() && needless.is_none() {
                kept += 1 + element.len();
                continue;
            }
            let out = resolved.get_or_insert_with(|| path[..kept].to_owned());
            out.push('/');
            push_normal(out, element, needless);
            continue;
        }
        let out = resolved.get_or_insert_with(|| path[..kept].to_owned());
        if kind == Element::Up {
            out.truncate(out.rfind('/').ok_or(PathError::AboveRoot)?);
        }
        if last {
            out.push('/');
        }
    }
    debug_assert!(resolved.as_ref().is_none_or(|path| path.starts_with('/')), "a normal path is absolute");
    Ok(resolved.map_or(Cow::Borrowed(path), Cow::Owned))
}

/// The position of the first escape that the normal form of a path does not have.
#[must_use]
pub fn needless_escape(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    memchr::memchr_iter(b'%', bytes).find(|&at| spelling(&bytes[at..]).is_some())
}

/// The normal form of the escape at the start of `bytes`, if it differs.
fn spelling(bytes: &[u8]) -> Option<Spelling> {
    match escaped(bytes)? {
        byte @ (b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~') => Some(Spelling::Plain(byte)),
        byte if !byte.is_ascii() && bytes[1..3].iter().any(u8::is_ascii_lowercase) => Some(Spelling::Upper),
        _ => None,
    }
}

/// The normal form of an escape.
enum Spelling {
    /// The character itself.
    Plain(u8),
    /// An escape with upper-case digits.
    Upper,
}

/// Appends an element in its normal form; its first needless escape is at `needless`.
fn push_normal(out: &mut String, element: &str, mut needless: Option<usize>) {
    let mut rest = element;
    while let Some((before, escape)) = needless.and_then(|at| rest.split_at_checked(at)) {
        out.push_str(before);
        match spelling(escape.as_bytes()) {
            Some(Spelling::Plain(byte)) => out.push(char::from(byte)),
            Some(Spelling::Upper) | None => out.extend(escape.chars().take(3).map(|c| c.to_ascii_uppercase())),
        }
        rest = escape.get(3..).unwrap_or("");
        needless = needless_escape(rest);
    }
    out.push_str(rest);
}

/// Checks the escapes of an element, and returns its kind. A piece is what a server that treats `\`, `%5c` or `%2f` as
/// a slash would see as an element; a name ends at `;` or `%3b` for servers that know path parameters.
fn classify(element: &[u8], encoded_slash: EncodedSlash) -> Result<Element, PathError> {
    let mut piece = Piece::default();
    let (mut at, mut plain) = (0, true);
    while at < element.len() {
        let (byte, len) = match element[at] {
            b'%' => (escaped(&element[at..]).filter(|b| *b != 0).ok_or(PathError::IllegalByte)?, 3),
            byte => (byte, 1),
        };
        at += len;
        match byte {
            b'\\' => {}
            b'/' if len == 3 => {}
            b';' => {
                plain = false;
                piece.parameters = true;
                continue;
            }
            b'.' => {
                piece.dot();
                continue;
            }
            _ => {
                piece.name();
                continue;
            }
        }
        if encoded_slash == EncodedSlash::Reject {
            return Err(PathError::EncodedSlash);
        }
        plain = false;
        if piece.kind() != Element::Name {
            return Err(PathError::IllegalByte);
        }
        piece = Piece::default();
    }
    let kind = piece.kind();
    if kind == Element::Name || plain { Ok(kind) } else { Err(PathError::IllegalByte) }
}

/// The piece of an element that is being scanned.
#[derive(Default)]
struct Piece {
    dots: u32,
    named: bool,
    parameters: bool,
}

impl Piece {
    fn dot(&mut self) {
        if !self.parameters {
            self.dots = self.dots.saturating_add(1);
        }
    }

    fn name(&mut self) {
        self.named |= !self.parameters;
    }

    fn kind(&self) -> Element {
        match (self.named, self.dots) {
            (false, 1) => Element::Here,
            (false, 2) => Element::Up,
            _ => Element::Name,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn paths_have_one_normal_form() {
        for (path, normal) in [
            ("*", "*"),
            ("/", "/"),
            ("//", "//"),
            ("/a/b", "/a/b"),
            ("/a//b/", "/a//b/"),
            ("/.", "/"),
            ("/./", "/"),
            ("/a/.", "/a/"),
            ("/a/./b", "/a/b"),
            ("/a/..", "/"),
            ("/a/../", "/"),
            ("/a/../b", "/b"),
            ("/a/b/../../c", "/c"),
            ("/a//../b", "/a/b"),
            ("//..", "/"),
            ("/a/%2e%2E/b", "/b"),
            ("/a/.%2e/b", "/b"),
            ("/a/%2e/b", "/a/b"),
            ("/a/...", "/a/..."),
            ("/.well-known/x", "/.well-known/x"),
            ("/a%2eb", "/a.b"),
            ("/%2e%2e%2e/a", "/.../a"),
            ("/%63heckout/pay", "/checkout/pay"),
            ("/a/%41%5a%61%7A%30%39%2D%2e%5F%7e", "/a/AZaz09-._~"),
            ("/%7Euser/%2e%2e/%7Eb", "/~b"),
            ("/a/%2E./%63", "/c"),
            ("/a/./%63%20%64", "/a/c%20d"),
            ("/%2563heckout", "/%2563heckout"),
            ("/%25%36%33", "/%2563"),
            ("/%2525%32%35", "/%252525"),
            ("/%2F%25%3F%5C%23%3b%40%3A", "/%2F%25%3F%5C%23%3b%40%3A"),
            ("/%2f%3f%5c", "/%2f%3f%5c"),
            ("/%63af%c3%a9", "/caf%C3%A9"),
            ("/caf%c3%A9", "/caf%C3%A9"),
            ("/%61;%2e%2e/b", "/a;../b"),
            ("/a/%252e%252e/b", "/a/%252e%252e/b"),
            ("/@scope%2fname", "/@scope%2fname"),
            ("/a%5Cb\\c", "/a%5Cb\\c"),
            ("/a;v=1/b", "/a;v=1/b"),
            ("/a;x=../b", "/a;x=../b"),
            ("/a;x/../b", "/b"),
            ("/caf%C3%A9", "/caf%C3%A9"),
            ("/a|b{c}\"", "/a|b{c}\""),
        ] {
            assert_eq!(normal_path(path, EncodedSlash::Keep).as_deref(), Ok(normal), "{path}");
            assert!(
                matches!(normal_path(normal, EncodedSlash::Keep), Ok(Cow::Borrowed(_))),
                "{normal} is not borrowed"
            );
        }
    }

    #[test]
    fn invalid_paths_are_rejected() {
        use PathError::{AboveRoot, EncodedSlash as Slash, IllegalByte, NotAbsolute};
        for (path, error) in [
            ("", NotAbsolute),
            ("admin", NotAbsolute),
            ("a:80", NotAbsolute),
            ("**", NotAbsolute),
            ("/..", AboveRoot),
            ("/a/../..", AboveRoot),
            ("/a/../../b", AboveRoot),
            ("/%2e%2e/a", AboveRoot),
            ("/%61/%2e%2e/.%2E", AboveRoot),
            ("/%%36%33", IllegalByte),
            ("/%2%35", IllegalByte),
            ("/a#b", IllegalByte),
            ("/a?b", IllegalByte),
            ("/a b", IllegalByte),
            ("/a\tb", IllegalByte),
            ("/a\0", IllegalByte),
            ("/a\u{7f}", IllegalByte),
            ("/ä", IllegalByte),
            ("/a%", IllegalByte),
            ("/a%4", IllegalByte),
            ("/a%zz", IllegalByte),
            ("/a%00b", IllegalByte),
            ("/.;/b", IllegalByte),
            ("/a/..;x/b", IllegalByte),
            ("/a;x/..;/b", IllegalByte),
            ("/a/%2e%2e;/b", IllegalByte),
            ("/a/..%3bx/b", IllegalByte),
            ("/a/..%2fb", IllegalByte),
            ("/a/b%2f..", IllegalByte),
            ("/a\\..\\b", IllegalByte),
            ("/a%5c.%2e%5cb", IllegalByte),
        ] {
            assert_eq!(normal_path(path, EncodedSlash::Keep), Err(error), "{path:?}");
        }
        for path in ["/a%2fb", "/a%2Fb", "/a%5cb", "/a\\b"] {
            assert_eq!(normal_path(path, EncodedSlash::Reject), Err(Slash), "{path}");
        }
    }

    /// The elements that a lenient server might see: everything decoded, `\` as a slash, parameters removed.
    fn lenient(path: &str) -> Vec<String> {
        let text = super::super::query::decoded(path).replace('\\', "/");
        text.split('/').map(|e| e.split(';').next().unwrap_or("").to_owned()).collect()
    }

    proptest! {
        #[test]
        fn normal_is_final_and_hides_no_dots(path in "/([a6;./\\\\%]|%2e|%2E|%2f|%5C|%3b|%25|%36|%61|%c3|\\.\\.){0,12}") {
            if let Ok(normal) = normal_path(&path, EncodedSlash::Keep) {
                prop_assert_eq!(normal_path(&normal, EncodedSlash::Keep), Ok(Cow::Borrowed(&*normal)));
                prop_assert!(lenient(&normal).iter().all(|e| e != "." && e != ".."), "{}", normal);
                prop_assert_eq!(needless_escape(&normal), None);
            }
        }

        #[test]
        fn bytes_show_that_a_path_is_normal(path in "[a6;./\\\\%#? ]{0,12}|(/[a-z]{0,9}){0,4}|\\PC{0,9}") {
            let is_normal = matches!(normal_path(&path, EncodedSlash::Keep), Ok(Cow::Borrowed(_)));
            let is_plain = path.starts_with('/') && !path.contains(['.', '%', '\\']);
            prop_assert_eq!(is_normal_path(path.as_bytes()), is_normal && is_plain);
        }

        #[test]
        fn any_text_has_a_result(path in "\\PC{0,40}") {
            let _ = normal_path(&path, EncodedSlash::Reject);
        }
    }
}
