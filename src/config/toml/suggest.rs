//! "Did you mean": finds the valid words that are most similar to an invalid one.

/// The most candidates that are compared, so that a hostile file cannot cost much time.
const LOOKED_AT_MAX: usize = 5_000;

/// The most candidates of the same distance that are named.
const NAMED_MAX: usize = 3;

/// A help line with the nearest candidates, if any is near.
pub(in crate::config) fn did_you_mean<'c>(word: &str, candidates: impl Iterator<Item = &'c str>) -> Option<String> {
    let found: Vec<_> = all_nearest(word, candidates).iter().map(|found| format!("`{found}`")).collect();
    (!found.is_empty()).then(|| format!("did you mean {}?", found.join(" or ")))
}

/// The nearest candidate, if any is near.
#[must_use]
pub fn nearest<'c>(word: &str, candidates: impl Iterator<Item = &'c str>) -> Option<&'c str> {
    all_nearest(word, candidates).first().copied()
}

/// The nearest candidates, all of the same distance. At most a third of the letters differ, and never all of them.
fn all_nearest<'c>(word: &str, candidates: impl Iterator<Item = &'c str>) -> Vec<&'c str> {
    if word.is_empty() || word.len() > 80 {
        return Vec::new();
    }
    let allowed = (word.chars().count() / 3).clamp(1, 3);
    let near = candidates
        .take(LOOKED_AT_MAX)
        .filter(|candidate| candidate.len().abs_diff(word.len()) <= allowed)
        .map(|candidate| (distance(word, candidate), candidate))
        .filter(|(distance, candidate)| {
            let letters = word.chars().count().min(candidate.chars().count());
            *distance <= allowed && *distance < letters
        });
    let (mut least, mut found) = (usize::MAX, Vec::new());
    for (distance, candidate) in near {
        if distance < least {
            least = distance;
            found.clear();
        }
        if distance == least && found.len() < NAMED_MAX && !found.contains(&candidate) {
            found.push(candidate);
        }
    }
    found
}

/// The number of letters that must be replaced, added, removed or swapped with their neighbour. Case is ignored, and
/// `-` is equal to `_`.
fn distance(a: &str, b: &str) -> usize {
    let plain =
        |s: &str| -> Vec<u8> { s.bytes().map(|b| if b == b'-' { b'_' } else { b.to_ascii_lowercase() }).collect() };
    let (a, b) = (plain(a), plain(b));
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 0..a.len() {
        let mut row = vec![i + 1];
        for j in 0..b.len() {
            let replaced = last[j] + usize::from(a[i] != b[j]);
            let mut best = replaced.min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && a[i] == b[j - 1] && a[i - 1] == b[j] {
                best = best.min(before[j - 1] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    debug_assert!(last[b.len()] <= a.len().max(b.len()), "replacing all letters is always enough");
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_is_found() {
        let keys = ["weight", "upstream", "methods", "sticky_cookie", "sticky"];
        let check =
            |word: &str, expected: Option<&str>| assert_eq!(nearest(word, keys.into_iter()), expected, "{word}");
        check("wieght", Some("weight"));
        check("Weight", Some("weight"));
        check("method", Some("methods"));
        check("sticky-cookie", Some("sticky_cookie"));
        check("upstraem", Some("upstream"));
        check("colour", None);
        // A word of one letter has no similar word: all of its letters would differ.
        for (word, candidate, expected) in [("c", "a", false), ("A", "a", true), ("a", "ab", false), ("ab", "ba", true)]
        {
            assert_eq!(nearest(word, [candidate].into_iter()).is_some(), expected, "{word} {candidate}");
        }
        check("", None);
    }

    #[test]
    fn all_candidates_of_the_same_distance_are_named() {
        for (word, names, expected) in [
            ("hello-v3", &["hello-v1", "other", "hello-v2"][..], Some("did you mean `hello-v1` or `hello-v2`?")),
            ("hello-v", &["hello-v1", "hello"], Some("did you mean `hello-v1`?")),
            ("a1", &["a2", "a2", "a3", "a4", "a5"], Some("did you mean `a2` or `a3` or `a4`?")),
            ("colour", &["weight"], None),
        ] {
            assert_eq!(did_you_mean(word, names.iter().copied()).as_deref(), expected, "{word}");
        }
    }
}
