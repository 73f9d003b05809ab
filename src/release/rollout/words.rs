//! Durations, weights and counts in sentences.

/// A duration with its two largest units, such as `1 h 30 min`.
#[must_use]
pub fn span(ms: u64) -> String {
    const UNITS: [(u64, &str); 4] = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "min"), (1_000, "s")];
    let Some(first) = UNITS.iter().position(|(unit, _)| ms >= *unit) else {
        return if ms == 0 { "0 s".to_owned() } else { format!("{ms} ms") };
    };
    let (unit, name) = UNITS[first];
    let mut text = format!("{} {name}", ms / unit);
    if let Some((less, name)) = UNITS.get(first + 1)
        && (ms % unit) / less > 0
    {
        text = format!("{text} {} {name}", (ms % unit) / less);
    }
    text
}

/// A weight in millionths as a percentage, such as `12.5 %`.
#[must_use]
pub fn percent(millionths: u32) -> String {
    let (whole, rest) = (millionths / 10_000, millionths % 10_000);
    if rest == 0 {
        return format!("{whole} %");
    }
    let digits = format!("{rest:04}");
    format!("{whole}.{} %", digits.trim_end_matches('0'))
}

/// A share, 0 to 1, as a percentage with three significant digits.
pub fn share(value: f64) -> String {
    let percent = value * 100.0;
    let text = if percent >= 10.0 {
        format!("{percent:.1}")
    } else if percent >= 0.1 {
        format!("{percent:.2}")
    } else {
        format!("{percent:.4}")
    };
    let short = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{short} %")
}

/// Names in a row, the first three of them.
pub fn names(all: &[String]) -> String {
    const SHOWN: usize = 3;
    let mut text = all.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
    if all.len() > SHOWN {
        text = format!("{text} and {} more", all.len() - SHOWN);
    }
    text
}

/// The name with the most letters in common at its begin, if that is more than half.
pub(super) fn similar<'a>(word: &str, all: impl Iterator<Item = &'a str>) -> Option<String> {
    let common = |other: &str| word.chars().zip(other.chars()).take_while(|(one, two)| one == two).count();
    let near = all.map(|other| Near { common: common(other), name: other });
    let best = near.max_by_key(|near| near.common)?;
    (best.common * 2 > best.name.chars().count()).then(|| best.name.to_owned())
}

struct Near<'a> {
    common: usize,
    name: &'a str,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_weights_and_names_are_short() {
        let spans = [0, 20, 1_000, 61_000, 1_800_000, 5_400_000, 90_000_000, 86_400_000, 86_460_000];
        let words = ["0 s", "20 ms", "1 s", "1 min 1 s", "30 min", "1 h 30 min", "1 d 1 h", "1 d", "1 d"];
        assert_eq!(spans.map(span), words);
        assert_eq!([0, 100, 10_000, 125_000, 1_000_000].map(percent), ["0 %", "0.01 %", "1 %", "12.5 %", "100 %"]);
        assert_eq!([0.0, 0.002, 0.5, 0.000_01, 1.0].map(share), ["0 %", "0.2 %", "50 %", "0.001 %", "100 %"]);
        let all: Vec<String> = ["a", "b", "c", "d"].map(str::to_owned).to_vec();
        assert_eq!((names(&all[..1]), names(&all)), ("a".to_owned(), "a, b, c and 1 more".to_owned()));
    }
}
