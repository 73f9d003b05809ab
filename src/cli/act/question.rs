//! Questions on a terminal, asked on standard error and answered on standard input.

use std::io::{BufRead, IsTerminal, Write, stderr, stdin};

use crate::cli::paint::Paint;

/// Whether a person can be asked.
pub(super) fn can_ask() -> bool {
    stdin().is_terminal() && stderr().is_terminal()
}

/// The line that the person types after `words`; nothing when it is empty or the input has ended.
pub(super) fn ask(words: &str) -> Option<String> {
    let mut error = stderr().lock();
    // A question that cannot be shown has no answer either.
    write!(error, "{words} ").and_then(|()| error.flush()).ok()?;
    let mut line = String::new();
    stdin().lock().read_line(&mut line).ok()?;
    let line = line.trim();
    (!line.is_empty()).then(|| line.to_owned())
}

/// The reason of a revive: as given, else asked for on a terminal.
pub(super) fn reason_to_revive(given: Option<&String>, what: &str, paint: Paint) -> Option<String> {
    let question = || ask(&paint.bold(&format!("Why revive {what}? A reason, for the journal:")));
    given.cloned().or_else(|| if can_ask() { question() } else { None })
}

/// Whether an answer is a yes.
pub(super) fn is_yes(answer: Option<&str>) -> bool {
    answer.is_some_and(|answer| answer.eq_ignore_ascii_case("y") || answer.eq_ignore_ascii_case("yes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_yes_is_a_yes() {
        for (answer, expected) in [("y", true), ("YES", true), ("n", false), ("yess", false), ("ok", false)] {
            assert_eq!(is_yes(Some(answer)), expected, "{answer}");
        }
        assert!(!is_yes(None));
    }
}
