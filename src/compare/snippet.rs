//! What is shown of a value: at most 200 bytes, without what is to be redacted.

use std::borrow::Cow;
use std::fmt::Write as _;

use super::json::JsonTree;

/// How many bytes of a value are shown.
const SHOWN_MAX: usize = 200;

/// What stands for a value that is not to be seen.
pub(super) const REDACTED: &str = "(redacted)";
/// What stands for a value that is not there.
pub(super) const ABSENT: &str = "(absent)";

/// The text of a value, without the values in it that are redacted.
pub(super) fn of_value(tree: &JsonTree<'_>, at: u32) -> Box<str> {
    let (mut shown, root) = (String::new(), tree.node(at));
    let (mut copied, mut number) = (root.start as usize, at);
    while number < root.next && shown.len() <= SHOWN_MAX {
        let node = tree.node(number);
        if (node.start as usize).saturating_sub(copied) > SHOWN_MAX {
            break; // what comes now is not shown anyway
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

/// The beginning of a text, in characters that can be shown.
pub(super) fn of_text(text: &str) -> Box<str> {
    let end = text.floor_char_boundary(SHOWN_MAX);
    let mut shown = String::with_capacity(end);
    for letter in text[..end].chars() {
        spell(&mut shown, if letter.is_whitespace() { ' ' } else { letter });
    }
    // Spelling lengthens it.
    let fits = shown.floor_char_boundary(SHOWN_MAX);
    if end < text.len() || fits < shown.len() {
        shown.truncate(fits);
        shown.push('…');
    }
    shown.into()
}

/// A text whose letters can all be shown on a terminal: those that would steer it are written as their codes.
#[must_use]
pub fn escape_controls(text: &str) -> Cow<'_, str> {
    if !text.contains(is_control) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    text.chars().for_each(|letter| spell(&mut shown, letter));
    Cow::Owned(shown)
}

/// Appends a letter, or its code if it steers.
pub(super) fn spell(text: &mut String, letter: char) {
    if is_control(letter) {
        // Writing to a string cannot fail.
        let _ = write!(text, "\\u{{{:x}}}", u32::from(letter));
    } else {
        text.push(letter);
    }
}

/// Whether a letter steers what shows it: a control character, an end of a line, a change of direction; or is not seen
/// at all, so that two texts that look alike are not.
#[must_use]
pub fn is_control(letter: char) -> bool {
    letter.is_control()
        || matches!(letter, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{feff}' | '\u{200b}'..='\u{200f}')
        || matches!(letter, '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{fff9}'..='\u{fffb}')
        || matches!(letter, '\u{e0000}'..='\u{e007f}')
}

/// Appends no more than can be shown.
fn push(shown: &mut String, text: &str) {
    shown.push_str(&text[..text.floor_char_boundary(SHOWN_MAX + 4)]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_is_shown_steers_a_terminal() {
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
