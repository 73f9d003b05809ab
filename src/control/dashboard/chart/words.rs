//! Words of charts: names that fit, and figures in sentences.

use super::super::figures::{grouped, short};

/// A name without what changes the direction of text or breaks lines, at most `most` letters long: the middle of a
/// longer one is left out, so that names that end differently stay different.
pub fn plain(name: &str, most: usize) -> String {
    let letters: Vec<char> = name.chars().take(8_192).filter(|letter| !is_format(*letter)).collect();
    if letters.len() <= most {
        return letters.into_iter().collect();
    }
    let end = most.saturating_sub(1) / 2;
    let begin = most.saturating_sub(1 + end);
    let (first, last) = (&letters[..begin], &letters[letters.len() - end..]);
    first.iter().chain(&['…']).chain(last).collect()
}

/// `5 of 1 190`.
pub fn of(part: u64, whole: u64) -> String {
    format!("{} of {}", grouped(part), grouped(whole))
}

/// `1 request`, `41 200 requests`.
pub fn requests(count: u64) -> String {
    let noun = if count == 1 { "request" } else { "requests" };
    format!("{}\u{a0}{noun}", grouped(count))
}

/// The evidence of a decimal logarithm: `E = 0.84`, `E = 10^6.27`.
pub fn evidence(log: f64) -> String {
    if (-3.0..=4.0).contains(&log) {
        format!("E\u{a0}=\u{a0}{}", short(10_f64.powf(log)))
    } else {
        format!("E\u{a0}=\u{a0}10^{}", short(log).replace('-', "\u{2212}"))
    }
}

fn is_format(letter: char) -> bool {
    letter.is_control()
        || ['\u{ad}', '\u{61c}', '\u{feff}'].contains(&letter)
        || ['\u{200b}'..='\u{200f}', '\u{2028}'..='\u{202e}', '\u{2060}'..='\u{2069}']
            .iter()
            .any(|range| range.contains(&letter))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_and_stay_different() {
        assert_eq!(plain("canary", 10), "canary");
        assert_eq!(plain("ranker-service-a", 10), "ranke…ce-a");
        assert_ne!(plain("ranker-service-a", 10), plain("ranker-service-b", 10));
        assert_eq!(plain("a\u{202e}b\u{200f}\n\u{0}c", 10), "abc");
        assert_eq!(plain(&"x".repeat(4_096), 40).chars().count(), 40);
        assert_eq!((plain("abc", 0).as_str(), plain("abc", 1).as_str(), plain("", 9).as_str()), ("…", "…", ""));
    }

    #[test]
    fn evidence_has_no_long_figures() {
        for (log, text) in
            [(0.0, "E=1"), (2.5229, "E=333"), (-0.0742, "E=0.843"), (6.27, "E=10^6.27"), (-9.0, "E=10^−9")]
        {
            assert_eq!(evidence(log).replace('\u{a0}', ""), text);
        }
        assert_eq!((requests(1), of(5, 1_190)), ("1\u{a0}request".to_owned(), "5 of 1\u{a0}190".to_owned()));
    }
}
