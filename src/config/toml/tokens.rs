//! What a file is made of, read with bounds: a file of a few megabytes must not unfold to gigabytes.

use toml_parser::Source as Text;
use toml_parser::lexer::{Token, TokenKind};

/// Brackets that may stand open at once before reading stops: what nests too deeply is told apart below this.
const OPEN_MAX: u32 = 10_000;

/// What a file may be made of: a file of the largest size has no more, unless it is made to hurt.
const TOKENS_MAX: usize = 12_000_000;

/// A file that would take up far more memory than it is long.
pub(in crate::config) struct TokenLimitExceeded {
    pub(in crate::config) at: usize,
    pub(in crate::config) message: &'static str,
}

/// What a file is made of.
pub(in crate::config) struct TomlTokens {
    pub(in crate::config) all: Vec<Token>,
    /// How many tables they make, about.
    pub(in crate::config) tables: usize,
}

/// What a file is made of, within bounds.
pub(in crate::config) fn tokens(source: Text<'_>) -> Result<TomlTokens, TokenLimitExceeded> {
    // A token for every two bytes at most, in all but odd files: grown step by step, the list would be copied again and
    // again. The part of the list that stays unused takes no memory.
    let mut tokens = Vec::with_capacity((source.input().len() / 2 + 1).min(TOKENS_MAX));
    let (mut open, mut tables, mut last) = (0_u32, 0, TokenKind::Newline);
    for token in source.lex() {
        let at = token.span().start();
        if matches!(token.kind(), TokenKind::LeftSquareBracket | TokenKind::LeftCurlyBracket) {
            open += 1;
            tables += usize::from(token.kind() == TokenKind::LeftCurlyBracket || last == TokenKind::Newline);
        } else if matches!(token.kind(), TokenKind::RightSquareBracket | TokenKind::RightCurlyBracket) {
            open = open.saturating_sub(1);
        }
        if open > OPEN_MAX {
            return Err(TokenLimitExceeded {
                at,
                message: "this is not TOML: brackets are opened over and over and not closed",
            });
        }
        if tokens.len() == TOKENS_MAX {
            let message = "the file has more than 12 million keys, values and marks up to here; use `include`, or \
                           a tenant file for long lists";
            return Err(TokenLimitExceeded { at, message });
        }
        last = token.kind();
        tokens.push(token);
    }
    Ok(TomlTokens { all: tokens, tables })
}
