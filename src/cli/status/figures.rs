//! Figures as people read them: short, with a unit, and never longer than their column.

/// `12345` → `12.3k`.
#[must_use]
pub fn count(count: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "four digits are shown")]
    let number = count as f64;
    match count {
        0..=9_999 => count.to_string(),
        10_000..=999_949 => format!("{:.1}k", number / 1e3),
        999_950..=999_949_999 => format!("{:.1}M", number / 1e6),
        _ => format!("{:.1}G", number / 1e9),
    }
}

/// `0.034` → `3.40 %`; nothing to divide by is a dash.
#[must_use]
pub fn ratio(ratio: Option<f64>) -> String {
    match ratio {
        None => "-".to_owned(),
        Some(0.0) => "0 %".to_owned(),
        Some(ratio) if ratio < 0.000_05 => "<0.01 %".to_owned(),
        Some(ratio) if ratio < 0.099_95 => format!("{:.2} %", ratio * 100.0),
        Some(ratio) => format!("{:.1} %", ratio * 100.0),
    }
}

/// Percent, with at most one decimal.
#[must_use]
pub fn share(percent: Option<f64>) -> String {
    percent.map_or_else(|| "-".to_owned(), |percent| format!("{percent:.1} %"))
}

/// A duration in milliseconds, to three digits.
#[must_use]
pub fn milliseconds(ms: Option<f64>) -> String {
    match ms {
        None => "-".to_owned(),
        Some(ms) if ms < 0.995 => format!("{ms:.2}"),
        Some(ms) if ms < 99.95 => format!("{ms:.1}"),
        Some(ms) => format!("{ms:.0}"),
    }
}

/// Requests per second.
#[must_use]
pub fn rate(rate: f64) -> String {
    if rate < 99.95 { format!("{rate:.1}") } else { format!("{rate:.0}") }
}

/// `93784` seconds → `1 d 2 h`; the two largest units.
#[must_use]
pub fn span(seconds: u64) -> String {
    let parts = [(86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")];
    let mut left = seconds;
    let mut words = Vec::new();
    for (size, unit) in parts {
        if left >= size || (size == 1 && words.is_empty()) {
            words.push(format!("{} {unit}", left / size));
            left %= size;
        } else if !words.is_empty() {
            break;
        }
        if words.len() == 2 {
            break;
        }
    }
    words.join(" ")
}

/// A bar of `width` letters, in eighths.
#[must_use]
pub fn bar(percent: f64, width: usize) -> String {
    const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    #[expect(clippy::cast_precision_loss, reason = "a bar has few letters")]
    let eighths = (percent.clamp(0.0, 100.0) / 100.0 * width as f64 * 8.0).round();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped above")]
    let eighths = eighths as usize;
    // What is there is seen.
    let eighths = if percent > 0.0 { eighths.max(1) } else { eighths };
    format!("{}{}", "█".repeat(eighths / 8), EIGHTHS[eighths % 8])
}

/// Text of at most `width` letters; what is cut is marked.
#[must_use]
pub fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let kept: String = text.chars().take(width.saturating_sub(1)).collect();
    format!("{kept}…")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_short() {
        for (number, text) in [(0, "0"), (9_999, "9999"), (10_000, "10.0k"), (999_949, "999.9k"), (999_950, "1.0M")] {
            assert_eq!(count(number), text);
        }
        assert_eq!((count(1_234_567_890), count(u64::MAX)), ("1.2G".into(), "18446744073.7G".into()));
        for (number, text) in
            [(None, "-"), (Some(0.0), "0 %"), (Some(1e-6), "<0.01 %"), (Some(0.0345), "3.45 %"), (Some(1.0), "100.0 %")]
        {
            assert_eq!(ratio(number), text);
        }
        for (number, text) in [(None, "-"), (Some(0.25), "0.25"), (Some(1.24), "1.2"), (Some(1234.5), "1234")] {
            assert_eq!(milliseconds(number), text);
        }
        assert_eq!((rate(0.5), rate(1234.5), share(Some(9.44))), ("0.5".into(), "1234".into(), "9.4 %".into()));
    }

    #[test]
    fn spans_have_two_units() {
        for (seconds, text) in [
            (0, "0 s"),
            (59, "59 s"),
            (60, "1 min"),
            (61, "1 min 1 s"),
            (3_601, "1 h"),
            (93_784, "1 d 2 h"),
            (86_400 * 400, "400 d"),
        ] {
            assert_eq!(span(seconds), text);
        }
    }

    #[test]
    fn bars_show_what_is_there() {
        for (percent, text) in
            [(0.0, ""), (0.01, "▏"), (50.0, "████"), (56.25, "████▌"), (100.0, "████████"), (200.0, "████████")]
        {
            assert_eq!(bar(percent, 8), text, "{percent}");
        }
        assert_eq!((cut("checkout", 8), cut("checkout", 5)), ("checkout".into(), "chec…".into()));
    }
}
