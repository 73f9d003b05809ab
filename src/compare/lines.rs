//! Compares text line by line, by hashes of the lines.

use super::DifferenceKind;
use super::matching::unmatched;

/// Texts with more lines are not compared in detail.
const LINES_MAX: usize = 16_384;

/// The differences of two texts, apart from line endings.
pub(super) fn differences(a: &str, b: &str) -> Vec<DifferenceKind> {
    let (Some(a), Some(b)) = (hashes(a), hashes(b)) else { return vec![DifferenceKind::Opaque] };
    let mut kinds = Vec::new();
    let found = unmatched(&a, &b);
    if a.len() != b.len() {
        kinds.push(DifferenceKind::Length);
    }
    if !found.left.is_empty() && !found.right.is_empty() {
        kinds.push(DifferenceKind::Value);
    }
    if found.reordered {
        kinds.push(DifferenceKind::Order);
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
            ("a\nb", "a\nc", vec![DifferenceKind::Value]),
            ("a\nb", "b\na", vec![DifferenceKind::Order]),
            ("a\nb", "a\nb\nc", vec![DifferenceKind::Length]),
            ("a\nb", "b\nc\nd", vec![DifferenceKind::Length, DifferenceKind::Value]),
            ("", "a", vec![DifferenceKind::Length]),
        ] {
            assert_eq!(differences(a, b), kinds, "{a:?} {b:?}");
        }
        assert_eq!(differences(&"\n".repeat(20_000), ""), vec![DifferenceKind::Opaque]);
    }
}
