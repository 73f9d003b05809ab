//! Samples of values: at most 200 bytes, redacted.

use std::borrow::Cow;
use std::fmt::Write as _;

use super::json::JsonTree;

/// The maximum length of a sample in bytes.
const SHOWN_MAX: usize = 200;

/// Replaces a redacted value.
pub(super) const REDACTED: &str = "(redacted)";
/// Replaces a missing value.
pub(super) const ABSENT: &str = "(absent)";

/// The text of a value, with redacted parts replaced.
pub(super) fn of_value(tree: &JsonTree<'_>, at: u32) -> Box<str> {
    let (mut shown, root) = (String::new(), tree.node(at));
    let (mut copied, mut number) = (root.start as usize, at);
    while number < root.next && shown.len() <= SHOWN_MAX {
        let node = tree.node(number);
        if (node.start as usize).saturating_sub(copied) > SHOWN_MAX {
            break; // the rest is beyond the sample
        }
        if !node.redacted {
            number += 1;
            continue;
        }
        push(&mut shown, &tree.text[copied..node.start as usize]);
        shown.push_str(REDACTED);
        copied = node.end as usize;
        number = node.next;
    }
    push(&mut shown, &tree.text[copied..root.end as usize]);
    of_text(&shown)
}

/// The start of a text, with control characters escaped.
pub(super) fn of_text(text: &str) -> Box<str> {
    let end = text.floor_char_boundary(SHOWN_MAX);
    let mut shown = String::with_capacity(end);
    for letter in text[..end].chars() {
        spell(&mut shown, if letter.is_whitespace() { ' ' } else { letter });
    }
    // Escapes lengthen the text.
    let fits = shown.floor_char_boundary(SHOWN_MAX);
    if end < text.len() || fits < shown.len() {
        shown.truncate(fits);
        shown.push('…');
    }
    debug_assert!(shown.len() <= SHOWN_MAX + '…'.len_utf8(), "a sample is bounded");
    shown.into()
}

/// Escapes characters that control a terminal or are invisible.
#[must_use]
pub fn escape_controls(text: &str) -> Cow<'_, str> {
    if !text.contains(is_control) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    text.chars().for_each(|letter| spell(&mut shown, letter));
    Cow::Owned(shown)
}

/// Appends a character, escaped if it is a control character.
pub(super) fn spell(text: &mut String, letter: char) {
    if is_control(letter) {
        // Writing to a string cannot fail.
        let _ = write!(text, "\\u{{{:x}}}", u32::from(letter));
    } else {
        text.push(letter);
    }
}

/// Whether a character controls the output: a control character, a line separator, a change of direction; or is
/// invisible, so that different texts look equal.
#[must_use]
pub fn is_control(letter: char) -> bool {
    letter.is_control()
        || matches!(letter, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{feff}' | '\u{200b}'..='\u{200f}')
        || matches!(letter, '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{fff9}'..='\u{fffb}')
        || matches!(letter, '\u{e0000}'..='\u{e007f}')
}

/// Appends at most the length of a sample.
fn push(shown: &mut String, text: &str) {
    shown.push_str(&text[..text.floor_char_boundary(SHOWN_MAX + 4)]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_have_no_control_characters() {
        assert_eq!(
            &*of_text("a\u{1b}]0;pwned\u{7}\u{9b}2J\u{202e}\n b"),
            "a\\u{1b}]0;pwned\\u{7}\\u{9b}2J\\u{202e}  b"
        );
        assert_eq!(escape_controls("größe 😀"), "größe 😀");
        assert_eq!(escape_controls("\r\n\u{2028}"), "\\u{d}\\u{a}\\u{2028}");
        for text in ["\u{1b}".repeat(300), format!("{}\u{1b}", "a".repeat(199)), "é".repeat(300)] {
            let shown = of_text(&text);
            assert!(
                shown.len() <= 200 + '…'.len_utf8() && shown.ends_with('…') && !shown.contains(is_control),
                "{shown}"
            );
        }
        assert_eq!(of_text(&"a".repeat(200)).len(), 200);
    }
}
