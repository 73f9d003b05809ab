//! Splits a file into tokens, with limits: a file of a few megabytes must not use gigabytes of memory.

use toml_parser::Source as Text;
use toml_parser::lexer::{Token, TokenKind};

/// The most open brackets. Below this limit, the parser reports values that are nested too deeply.
const OPEN_MAX: u32 = 10_000;

/// The most tokens of a file. A file of the largest allowed size has fewer, unless it was made to use up memory.
const TOKENS_MAX: usize = 12_000_000;

/// A file that exceeds a limit.
pub(in crate::config) struct TokenLimitExceeded {
    pub(in crate::config) at: usize,
    pub(in crate::config) message: &'static str,
}

/// The tokens of a file.
pub(in crate::config) struct TomlTokens {
    pub(in crate::config) all: Vec<Token>,
    /// The approximate number of tables.
    pub(in crate::config) tables: usize,
}

/// Splits a file into tokens.
pub(in crate::config) fn tokens(source: Text<'_>) -> Result<TomlTokens, TokenLimitExceeded> {
    // Most files have at most one token for two bytes. Reserving that avoids copies of a growing list; the system does
    // not back unused capacity with memory.
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
            return Err(TokenLimitExceeded { at, message: "this is not TOML: too many brackets are open" });
        }
        if tokens.len() == TOKENS_MAX {
            let message = "the file has more than 12 million keys, values and other tokens up to here; use `include`, or a tenant \
                           file for long lists";
            return Err(TokenLimitExceeded { at, message });
        }
        debug_assert!(tokens.last().is_none_or(|last: &Token| last.span().end() <= at), "tokens are in order");
        last = token.kind();
        tokens.push(token);
    }
    Ok(TomlTokens { all: tokens, tables })
}
