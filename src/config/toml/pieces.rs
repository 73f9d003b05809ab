//! Splits a text into its routes and the rest, without parsing it. A route is `[[route]]` with the tables below it, up to the
//! next header of another table.
//!
//! The split is a guess by the first characters of lines. It holds where the parser has found the same headers: then each
//! piece is complete, and means the same wherever it stands among others. A text that is written in another way, such as
//! `[ route . match ]`, is not split.

use std::ops::Range;

use xxhash_rust::xxh3::{Xxh3, xxh3_128};

use super::source::offset;

/// A route in a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::config) struct RoutePiece {
    /// Its bytes in the text.
    pub(in crate::config) bytes: Range<u32>,
    /// XXH3-128 of its text.
    pub(in crate::config) hash: u128,
}

/// The pieces of a text.
#[derive(Debug)]
pub(in crate::config) struct TextPieces {
    /// The routes, in order.
    pub(in crate::config) routes: Vec<RoutePiece>,
    /// XXH3-128 of everything else that routes may depend on: without `[kill]`, tests, comments and empty lines.
    pub(in crate::config) rest: u128,
    /// Where the headers of tables begin, in order.
    headers: Vec<u32>,
}

/// What follows a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Header {
    /// A route.
    Route,
    /// A table of the route before.
    PartOfRoute,
    /// A table that no route depends on, whose edits therefore cost little.
    Apart,
    /// Another table.
    Other,
}

/// Tables that no route depends on: each load reads them, and what they say about routes, anew.
const APART: [&str; 2] = ["kill", "test"];

impl Header {
    /// By the text that begins with it; `None`: it is written in an unusual way.
    fn of(text: &str) -> Option<Self> {
        let (name, close) = match text.strip_prefix("[[") {
            Some(name) => (name, "]]"),
            None => (text.strip_prefix('[')?, "]"),
        };
        let is_bare = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
        let (first, behind) = name.split_at(name.bytes().take_while(|byte| is_bare(*byte)).count());
        match (first, behind.starts_with('.')) {
            ("", _) => None,
            ("route", true) => Some(Self::PartOfRoute),
            ("route", false) => (close == "]]" && behind.starts_with(close)).then_some(Self::Route),
            (name, is_dotted) => {
                let header = if APART.contains(&name) { Self::Apart } else { Self::Other };
                (is_dotted || behind.starts_with(close)).then_some(header)
            }
        }
    }
}

impl TextPieces {
    /// The pieces of a text; `None` if it is not written in the usual way.
    pub(in crate::config) fn of(text: &str) -> Option<Self> {
        let (mut routes, mut headers, mut rest) = (Vec::new(), Vec::new(), Vec::new());
        let (mut open, mut from) = (Header::Other, 0);
        let mut close = |table: Header, bytes: Range<usize>| match table {
            Header::Route => {
                let hash = xxh3_128(&text.as_bytes()[bytes.clone()]);
                routes.push(RoutePiece { bytes: offset(bytes.start)..offset(bytes.end), hash });
            }
            Header::Other => rest.push(&text[bytes]),
            Header::Apart | Header::PartOfRoute => {}
        };
        for at in line_starts(text) {
            let Some(at) = bracket(text, at) else { continue };
            headers.push(offset(at));
            match Header::of(&text[at..])? {
                Header::PartOfRoute if open == Header::Route => {}
                Header::PartOfRoute => return None,
                next @ (Header::Route | Header::Apart | Header::Other) => {
                    close(std::mem::replace(&mut open, next), from..at);
                    from = at;
                }
            }
        }
        close(open, from..text.len());
        debug_assert!(headers.is_sorted(), "headers are found in order");
        Some(Self { routes, rest: hash_of_rest(&rest), headers })
    }

    /// Whether the parser has found the same headers in these parts of the text, which are in order.
    pub(in crate::config) fn has_headers(&self, found: &[u32], parts: &[Range<usize>]) -> bool {
        let mut found = found.iter();
        parts.iter().all(|part| {
            let from = self.headers.partition_point(|at| (*at as usize) < part.start);
            let inside = self.headers.iter().skip(from).take_while(|at| (**at as usize) < part.end);
            inside.into_iter().all(|at| found.next() == Some(at))
        }) && found.next().is_none()
    }

    /// The parts of the text that are not among `kept`, which says of each route whether it is left out.
    pub(in crate::config) fn parts_without(&self, text: &str, kept: impl Iterator<Item = bool>) -> Vec<Range<usize>> {
        let mut parts = Vec::new();
        let mut from = 0;
        for (piece, _) in self.routes.iter().zip(kept).filter(|(_, kept)| *kept) {
            let (start, end) = (piece.bytes.start as usize, piece.bytes.end as usize);
            debug_assert!(from <= start && start < end, "pieces follow each other");
            if from < start {
                parts.push(from..start);
            }
            from = end;
        }
        if from < text.len() {
            parts.push(from..text.len());
        }
        parts
    }
}

/// The hash of these parts of a text without comments and empty lines. A line of a string of several lines may look like a
/// comment: then all is hashed.
fn hash_of_rest(parts: &[&str]) -> u128 {
    let has_long_string = |part: &&str| {
        ["\"\"\"", "'''"].iter().any(|quote| memchr::memmem::find(part.as_bytes(), quote.as_bytes()).is_some())
    };
    let is_hashed = |line: &&str| !matches!(line.trim_ascii_start().as_bytes().first(), None | Some(b'#'));
    let mut hash = Xxh3::new();
    if parts.iter().any(has_long_string) {
        for part in parts {
            hash.update(part.as_bytes());
        }
    } else {
        let lines = parts.iter().flat_map(|part| part.split_inclusive('\n'));
        lines.filter(is_hashed).for_each(|line| hash.update(line.as_bytes()));
    }
    hash.digest128()
}

/// Where the lines of a text begin.
fn line_starts(text: &str) -> impl Iterator<Item = usize> {
    std::iter::once(0).chain(memchr::memchr_iter(b'\n', text.as_bytes()).map(|at| at + 1))
}

/// The place of the bracket that is the first character of a line but for blanks.
fn bracket(text: &str, line: usize) -> Option<usize> {
    let blanks = text.as_bytes()[line..].iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    let at = line + blanks;
    (text.as_bytes().get(at) == Some(&b'[')).then_some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routes(text: &str) -> Option<Vec<&str>> {
        let piece = |piece: &RoutePiece| &text[piece.bytes.start as usize..piece.bytes.end as usize];
        Some(TextPieces::of(text)?.routes.iter().map(piece).collect())
    }

    #[test]
    fn a_route_ends_at_the_next_table_of_another_name() {
        let text = "schema = 1\n[[route]]\nname = 'a'\n  [route.match]\n# c\n[[route]] # b\n[[route.target]]\n[upstream.x]\n[[route]]";
        let expected =
            ["[[route]]\nname = 'a'\n  [route.match]\n# c\n", "[[route]] # b\n[[route.target]]\n", "[[route]]"];
        assert_eq!(routes(text).unwrap(), expected);
        assert_eq!(routes(""), Some(vec![]));
        assert_eq!(routes("[routes]\n[[route-x.y]]"), Some(vec![]));
    }

    #[test]
    fn an_unusual_text_is_not_split() {
        for text in [
            "[route]",
            "[ route.match ]",
            "[[\"route\"]]",
            "[route.match]",
            "[[route]]\n[upstream.x]\n[route.match]",
            "[[a",
        ] {
            assert_eq!(routes(text), None, "{text}");
        }
    }

    #[test]
    fn the_rest_is_the_same_wherever_routes_stand() {
        let rest = |text: &str| TextPieces::of(text).unwrap().rest;
        let one = rest("a = 1\n[u.x]\ny = 1\n[[route]]\nname = 'a'\n");
        assert_eq!(one, rest("a = 1\n[[route]]\nname = 'b'\n[[route]]\n[u.x]\ny = 1\n"));
        assert_eq!(one, rest("a = 1\n[u.x]\ny = 1\n"));
        assert_ne!(one, rest("a = 1\n[u.x]\ny = 2\n[[route]]\nname = 'a'\n"));
    }

    #[test]
    fn what_no_route_depends_on_is_not_hashed() {
        let rest = |text: &str| TextPieces::of(text).unwrap().rest;
        let one = rest("a = 1\n[u.x]\ny = 1\n");
        for text in [
            "# note\na = 1\n\n  # more\n[u.x]\ny = 1\n",
            "a = 1\n[kill]\nall = true\n[u.x]\ny = 1\n",
            "a = 1\n[[test]]\nb = 1\n[test.c]\nd = 1\n[u.x]\ny = 1\n[kill]\n\r\n",
        ] {
            assert_eq!(rest(text), one, "{text}");
        }
        for text in
            ["a = 1\n[u.x]\ny = 1 # note\n", "kill.all = true\na = 1\n[u.x]\ny = 1\n", "a = 1\n[kills]\n[u.x]\ny = 1\n"]
        {
            assert_ne!(rest(text), one, "{text}");
        }
        assert_ne!(rest("a = '''\n# one\n'''\n"), rest("a = '''\n# two\n'''\n"), "a line of a string is no comment");
    }

    #[test]
    fn what_is_left_out_has_no_headers() {
        let text = "a = 1\n[[route]]\nb = 1\n[[route]]\n[route.c]\n[d]\n[[route]]\n";
        let pieces = TextPieces::of(text).unwrap();
        let parts = pieces.parts_without(text, [true, false, true].into_iter());
        let left: Vec<&str> = parts.iter().map(|part| &text[part.clone()]).collect();
        assert_eq!(left, ["a = 1\n", "[[route]]\n[route.c]\n[d]\n"]);
        assert!(pieces.has_headers(&[22, 32, 42], &parts));
        assert!(!pieces.has_headers(&[22, 42], &parts));
        assert!(!pieces.has_headers(&[22, 32, 42, 46], &parts));
    }
}
