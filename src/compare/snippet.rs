//! What is shown of a value: at most 200 bytes, without what is to be redacted.

use super::json::Tree;

/// How many bytes of a value are shown.
const SHOWN_MAX: usize = 200;

/// What stands for a value that is not to be seen.
pub(super) const REDACTED: &str = "(redacted)";
/// What stands for a value that is not there.
pub(super) const ABSENT: &str = "(absent)";

/// The text of a value, without the values in it that are redacted.
pub(super) fn of_value(tree: &Tree<'_>, at: u32) -> Box<str> {
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

/// The beginning of a text.
pub(super) fn of_text(text: &str) -> Box<str> {
    let end = text.floor_char_boundary(SHOWN_MAX);
    if end == text.len() { text.into() } else { format!("{}…", &text[..end]).into() }
}

/// Appends no more than can be shown.
fn push(shown: &mut String, text: &str) {
    shown.push_str(&text[..text.floor_char_boundary(SHOWN_MAX + 4)]);
}
