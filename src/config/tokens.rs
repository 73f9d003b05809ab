//! What a file is made of, read with bounds: a file of a few megabytes must not unfold to gigabytes.

use toml_parser::Source as Text;
use toml_parser::lexer::{Token, TokenKind};

/// Brackets that may stand open at once before reading stops: what nests too deeply is told apart below this.
const OPEN_MAX: u32 = 10_000;

/// What a file may be made of: a file of the largest size has no more, unless it is made to hurt.
const TOKENS_MAX: usize = 12_000_000;

/// A file that would take up far more memory than it is long.
pub(super) struct TooMuch {
    pub(super) at: usize,
    pub(super) message: &'static str,
}

/// What a file is made of, within bounds.
pub(super) fn tokens(source: Text<'_>) -> Result<Vec<Token>, TooMuch> {
    // A token for every three bytes or so: grown step by step, the list would be copied again and again.
    let mut tokens = Vec::with_capacity(source.input().len() / 3 + 1);
    let mut open = 0_u32;
    for token in source.lex() {
        let at = token.span().start();
        if matches!(token.kind(), TokenKind::LeftSquareBracket | TokenKind::LeftCurlyBracket) {
            open += 1;
        } else if matches!(token.kind(), TokenKind::RightSquareBracket | TokenKind::RightCurlyBracket) {
            open = open.saturating_sub(1);
        }
        if open > OPEN_MAX {
            return Err(TooMuch { at, message: "this is not TOML: brackets are opened over and over and not closed" });
        }
        if tokens.len() == TOKENS_MAX {
            let message = "the file has more than 12 million keys, values and marks up to here; use `include`, or \
                           a tenant file for long lists";
            return Err(TooMuch { at, message });
        }
        tokens.push(token);
    }
    Ok(tokens)
}
