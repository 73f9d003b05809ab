//! Finds a list, an inline table or a string that is not closed. The parser reads all following lines as a part of it,
//! so that its errors point at correct lines; this module finds where the unclosed value begins.

use toml_parser::lexer::{Token, TokenKind};

use super::diagnostic::Finding;
use super::source::{Span, offset};

/// A value that is not closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::config) struct Unclosed {
    what: What,
    /// The offset where the value begins.
    pub(in crate::config) at: usize,
    /// The first key or header that cannot be a part of the value; `None` at the end of the file.
    seen: Option<(usize, usize)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    List,
    Table,
    Text(char),
}

impl Unclosed {
    /// The error.
    pub(in crate::config) fn finding(self, file: u16) -> Finding {
        let span = |start: usize, end: usize| Span { file, start: offset(start), end: offset(end) };
        let (name, help) = match self.what {
            What::List => ("list", "write `]` at its end".to_owned()),
            What::Table => ("inline table", "write `}` at its end".to_owned()),
            What::Text(quote) => {
                ("string", format!("write `{quote}` at its end, or where one is missing earlier on this line"))
            }
        };
        let message = format!("this is not TOML: the {name} that begins here is not closed");
        let found = Finding::error("syntax", span(self.at, self.at + 1), message).help(help);
        match self.seen {
            Some((start, end)) => found.also(span(start, end), "this cannot be a part of it"),
            None => found,
        }
    }
}

/// Finds the first unclosed value of a file that has errors.
pub(in crate::config) fn find(text: &str, tokens: &[Token]) -> Option<Unclosed> {
    let mut open: Vec<(What, usize)> = Vec::new();
    let (mut is_value, mut last) = (false, TokenKind::Newline);
    debug_assert!(tokens.is_sorted_by_key(|token| token.span().start()), "tokens are in order");
    for (i, token) in tokens.iter().enumerate() {
        let (kind, at) = (token.kind(), token.span().start());
        let top = open.last().copied();
        let at_top = |seen| top.map(|(what, at)| Unclosed { what, at, seen });
        match kind {
            TokenKind::Whitespace | TokenKind::Comment => continue,
            TokenKind::Newline => {
                is_value = is_value && top.is_some();
                if let Some((what, _)) = top
                    && let Some(seen) = find_foreign(text, &tokens[i + 1..], what, last)
                {
                    return at_top(Some(seen));
                }
                continue;
            }
            TokenKind::Equals => is_value = true,
            TokenKind::LeftSquareBracket if is_value => open.push((What::List, at)),
            TokenKind::LeftCurlyBracket if is_value => open.push((What::Table, at)),
            TokenKind::RightSquareBracket | TokenKind::RightCurlyBracket => {
                let closed = if kind == TokenKind::RightSquareBracket { What::List } else { What::Table };
                if top.is_some_and(|(what, _)| what != closed) {
                    return at_top(Some((at, token.span().end())));
                }
                open.pop();
            }
            TokenKind::BasicString | TokenKind::LiteralString if top.is_some() => {
                let quote = if kind == TokenKind::BasicString { '"' } else { '\'' };
                if !is_closed(&text[at..token.span().end()], quote) {
                    return Some(Unclosed { what: What::Text(quote), at, seen: None });
                }
            }
            // `["a, "b"]`: the lexer reads `"a, "` as a string, and the quote after `b` begins another one.
            TokenKind::Atom if top.is_some() && matches!(last, TokenKind::BasicString | TokenKind::LiteralString) => {
                let quote = if last == TokenKind::BasicString { '"' } else { '\'' };
                if let Some(inside) = text[at..token.span().end()].find(quote) {
                    return Some(Unclosed { what: What::Text(quote), at: at + inside, seen: None });
                }
            }
            TokenKind::Eof => return at_top(None),
            TokenKind::Dot
            | TokenKind::Comma
            | TokenKind::LeftSquareBracket
            | TokenKind::LeftCurlyBracket
            | TokenKind::LiteralString
            | TokenKind::BasicString
            | TokenKind::MlLiteralString
            | TokenKind::MlBasicString
            | TokenKind::Atom => {}
        }
        last = kind;
    }
    None
}

/// Whether a string of one line has its closing quote.
fn is_closed(written: &str, quote: char) -> bool {
    let Some(inside) = written.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote)) else { return false };
    let escapes = inside.len() - inside.trim_end_matches('\\').len();
    quote == '\'' || escapes.is_multiple_of(2)
}

/// The key or header at the beginning of a line that cannot be a part of the open value `what`, whose last token is
/// `last`.
fn find_foreign(text: &str, line: &[Token], what: What, last: TokenKind) -> Option<(usize, usize)> {
    let mut tokens = line.iter().filter(|token| token.kind() != TokenKind::Whitespace);
    let first = tokens.next()?;
    let start = first.span().start();
    if first.kind() == TokenKind::LeftSquareBracket {
        let mut name = tokens.next()?;
        if name.kind() == TokenKind::LeftSquareBracket {
            name = tokens.next()?;
        }
        let word = &text[name.span().start()..name.span().end()];
        let is_word = name.kind() == TokenKind::Atom
            && word.starts_with(|c: char| c.is_ascii_alphabetic())
            && !matches!(word, "true" | "false" | "inf" | "nan");
        let is_part = |kind| matches!(kind, TokenKind::Atom | TokenKind::Dot);
        let end = tokens.find(|token| !is_part(token.kind()))?;
        return (is_word && end.kind() == TokenKind::RightSquareBracket).then(|| (start, end.span().end()));
    }
    let is_key = |kind| matches!(kind, TokenKind::Atom | TokenKind::BasicString | TokenKind::LiteralString);
    if !is_key(first.kind()) {
        return None;
    }
    let mut end = first.span().end();
    for token in tokens {
        if token.kind() == TokenKind::Equals {
            let is_next = what == What::Table && matches!(last, TokenKind::Comma | TokenKind::LeftCurlyBracket);
            return (!is_next).then_some((start, end));
        }
        if !is_key(token.kind()) && token.kind() != TokenKind::Dot {
            return None;
        }
        end = token.span().end();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The unclosed value begins at the first `§`, which is not a part of the text.
    fn check(marked: &str) {
        let text = marked.replace('§', "");
        let tokens: Vec<Token> = toml_parser::Source::new(&text).lex().collect();
        assert_eq!(find(&text, &tokens).map(|found| found.at), marked.find('§'), "{text}");
    }

    #[test]
    fn the_beginning_is_found() {
        for marked in [
            "a = §[\"x\"\nb = 1\nc = [2]\n",
            "a = §[\"x\",\nb = 1\n",
            "a = §[\"x\"\n\n[upstream.v2]\nb = 1\n",
            "a = §[\"x\",\n[[route]]\n",
            "a = §[\"x\", # ]\n",
            "a = §[[1, 2], [3]\n",
            "a = §{ b = 1\nc = 2\n",
            "a = §{ b = 1,\n[c]\n",
            "a = [§{ b = 1 ]\n",
            "a = §[1}\n",
            "a = [§\"x]\nb = 1\n",
            "a = [\"x, \"y§\"]\nb = 1\n",
            "a = [§\"x\\\"]\n",
            "a = { b = §'x }\n",
        ] {
            check(marked);
        }
    }

    #[test]
    fn closed_values_are_not_reported() {
        for text in [
            "a = [\n  \"x\",\n  [1],\n  ['b'],\n]\n[c]\nd = 1\n",
            "a = { b = 1,\n  c = 2 }\n",
            "a = [{ b = 'it' }, { b = \"\\\\\" }]\n",
            "a = [it's]\n",
            "a = \"x\nb = 1\n",
            "a = it's\nb = [1]\n",
            "server {\n  listen 80;\n}\n",
            "[upstream.x\n",
            "",
        ] {
            check(text);
        }
    }
}
