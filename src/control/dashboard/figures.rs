//! Figures as people read them. What is not known is a dash, never a zero.

use serde_json::Value;

/// What stands for a figure that is not known.
pub const NONE: &str = "–";

/// A text of the API; empty when there is none.
pub fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// The members of a list of the API.
pub fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// A count with thin spaces between groups of three digits, as everywhere in the messages of the proxy.
pub fn count(value: &Value) -> String {
    value.as_u64().map_or_else(|| NONE.to_owned(), grouped)
}

/// `12 345`, with no-break spaces.
pub fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3 * 2);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push('\u{a0}');
        }
        text.push(digit);
    }
    text
}

/// `12.5 %` of a figure in percent: at most four decimals.
pub fn percent(value: &Value) -> String {
    value.as_f64().map_or_else(|| NONE.to_owned(), |percent| format!("{}\u{a0}%", short(percent)))
}

/// `0.42 %` of a ratio, 0 to 1.
pub fn ratio(value: &Value) -> String {
    value.as_f64().map_or_else(|| NONE.to_owned(), |ratio| format!("{}\u{a0}%", short(ratio * 100.0)))
}

/// `12.3 ms` or `1.25 s` of milliseconds.
pub fn millis(value: &Value) -> String {
    value.as_f64().map_or_else(
        || NONE.to_owned(),
        |ms| {
            if ms >= 1_000.0 { format!("{}\u{a0}s", short(ms / 1e3)) } else { format!("{}\u{a0}ms", short(ms)) }
        },
    )
}

/// A text of the API in which no line breaks within a figure: `4 210`, `25 %`.
pub fn unbroken(text: &str) -> String {
    let mut shown = String::with_capacity(text.len() + 8);
    let mut letters = text.chars().peekable();
    let mut before = ' ';
    while let Some(letter) = letters.next() {
        let joins = letters.peek().is_some_and(|next| next.is_ascii_digit() || matches!(next, '%' | '×'));
        shown.push(if letter == ' ' && before.is_ascii_digit() && joins { '\u{a0}' } else { letter });
        before = letter;
    }
    shown
}

/// Three significant digits, without zeros at the end.
pub fn short(figure: f64) -> String {
    let decimals = match figure.abs() {
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        size if size >= 1.0 || size == 0.0 => 2,
        size if size >= 0.1 => 3,
        _ => 4,
    };
    let text = format!("{figure:.decimals$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// `2 h 5 min` of milliseconds: the two largest units.
pub fn span(ms: u64) -> String {
    let seconds = ms / 1_000;
    let units = [(86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")];
    let mut rest = seconds;
    let mut parts = Vec::new();
    for (length, name) in units {
        let whole = rest / length;
        rest %= length;
        if whole > 0 || (length == 1 && parts.is_empty()) {
            parts.push(format!("{whole}\u{a0}{name}"));
        }
        if parts.len() == 2 {
            break;
        }
    }
    parts.join(" ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn figures_are_short_and_what_is_unknown_is_a_dash() {
        for (figure, text) in [
            (0.0, "0"),
            (0.00012, "0.0001"),
            (0.25, "0.25"),
            (3.12345, "3.12"),
            (12.5, "12.5"),
            (99.96, "100"),
            (12_345.6, "12346"),
        ] {
            assert_eq!(short(figure), text);
        }
        assert_eq!(
            (count(&json!(null)), percent(&json!(null)), ratio(&json!(null)), millis(&json!(null))),
            (NONE.into(), NONE.into(), NONE.into(), NONE.into())
        );
        assert_eq!(count(&json!(41_200)), "41\u{a0}200");
        assert_eq!(count(&json!(999)), "999");
        assert_eq!(ratio(&json!(0.0042)), "0.42\u{a0}%");
        assert_eq!(millis(&json!(1_250.0)), "1.25\u{a0}s");
        assert_eq!(
            unbroken("3.1 × stable: 14 of 4 210, 25 % in 2 s a 7"),
            "3.1\u{a0}× stable: 14 of 4\u{a0}210, 25\u{a0}% in 2 s a 7"
        );
        for (ms, text) in [
            (0, "0\u{a0}s"),
            (61_000, "1\u{a0}min 1\u{a0}s"),
            (7_500_000, "2\u{a0}h 5\u{a0}min"),
            (90_000_000, "1\u{a0}d 1\u{a0}h"),
        ] {
            assert_eq!(span(ms), text);
        }
    }
}
