//! Text that is no JSON: line by line, by the hashes of the lines.

use super::Kind;
use super::matching::unmatched;

/// Texts with more lines are not looked into.
const LINES_MAX: usize = 16_384;

/// How two texts differ; empty when they do not, but for the ends of their lines.
pub(super) fn differences(a: &str, b: &str) -> Vec<Kind> {
    let (Some(a), Some(b)) = (hashes(a), hashes(b)) else { return vec![Kind::Opaque] };
    let mut kinds = Vec::new();
    let found = unmatched(&a, &b);
    if a.len() != b.len() {
        kinds.push(Kind::Length);
    }
    if !found.left.is_empty() && !found.right.is_empty() {
        kinds.push(Kind::Value);
    }
    if found.reordered {
        kinds.push(Kind::Order);
    }
    kinds
}

fn hashes(text: &str) -> Option<Vec<u64>> {
    let hashes: Vec<u64> =
        text.lines().take(LINES_MAX + 1).map(|line| xxhash_rust::xxh3::xxh3_64(line.as_bytes())).collect();
    (hashes.len() <= LINES_MAX).then_some(hashes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_compared() {
        for (a, b, kinds) in [
            ("a\nb", "a\r\nb\n", vec![]),
            ("a\nb", "a\nc", vec![Kind::Value]),
            ("a\nb", "b\na", vec![Kind::Order]),
            ("a\nb", "a\nb\nc", vec![Kind::Length]),
            ("a\nb", "b\nc\nd", vec![Kind::Length, Kind::Value]),
            ("", "a", vec![Kind::Length]),
        ] {
            assert_eq!(differences(a, b), kinds, "{a:?} {b:?}");
        }
        assert_eq!(differences(&"\n".repeat(20_000), ""), vec![Kind::Opaque]);
    }
}
