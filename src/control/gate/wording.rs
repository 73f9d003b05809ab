//! Foreign text in a line for people.

use crate::compare::escape_controls;

/// The longest text of another program, in characters.
const SHOWN_MAX: usize = 200;

/// The beginning of a text, with its control characters escaped: at most 200 characters.
pub(in crate::control) fn shown(text: &str) -> String {
    let (mut out, mut count) = (String::new(), 0);
    for letter in text.trim().chars() {
        let mut bytes = [0; 4];
        let one = escape_controls(letter.encode_utf8(&mut bytes)).into_owned();
        count += one.chars().count();
        if count >= SHOWN_MAX {
            out.push('…');
            break;
        }
        out.push_str(&one);
    }
    debug_assert!(out.chars().count() <= SHOWN_MAX, "the text has a bound");
    out
}
