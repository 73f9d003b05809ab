//! Labels at the ends of lines: as near to their lines as they can be without lying on each other.

/// The places of labels that want to stand at `wanted`: in the same order, at least `gap` apart where there is room for
/// that, from `low` to `high`. The sum of the squares of the distances is the least possible.
pub fn spread(wanted: &[f64], gap: f64, low: f64, high: f64) -> Vec<f64> {
    let mut order: Vec<usize> = (0..wanted.len()).collect();
    order.sort_by(|a, b| wanted[*a].total_cmp(&wanted[*b]));
    let gaps = f64::from(u32::try_from(wanted.len().saturating_sub(1)).unwrap_or(u32::MAX));
    let gap = if gaps > 0.0 { gap.min((high - low) / gaps) } else { gap };
    // Without the gaps, places need only rise: neighbours that would not are merged at their mean.
    let mut blocks: Vec<LabelBlock> = Vec::new();
    for (rank, at) in (0_u32..).zip(&order) {
        let mut block = LabelBlock { sum: wanted[*at] - gap * f64::from(rank), count: 1 };
        while let Some(before) = blocks.pop_if(|before| before.mean() > block.mean()) {
            block = LabelBlock { sum: before.sum + block.sum, count: before.count + block.count };
        }
        blocks.push(block);
    }
    let means = blocks.iter().flat_map(|block| std::iter::repeat_n(block.mean(), block.count as usize));
    let mut places = vec![0.0; wanted.len()];
    for ((rank, at), mean) in (0_u32..).zip(order).zip(means) {
        places[at] = mean.clamp(low, (high - gap * gaps).max(low)) + gap * f64::from(rank);
    }
    places
}

#[derive(Clone, Copy, Debug)]
struct LabelBlock {
    sum: f64,
    count: u32,
}

impl LabelBlock {
    fn mean(self) -> f64 {
        self.sum / f64::from(self.count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_keep_their_order_and_their_distance() {
        let mut state = 12_345_u32;
        for count in 0..12_usize {
            for _ in 0..200 {
                let wanted: Vec<f64> = std::iter::repeat_with(|| {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    f64::from(state >> 8) / f64::from(1 << 24) * 128.0
                })
                .take(count)
                .collect();
                let places = spread(&wanted, 13.0, 4.0, 124.0);
                for (a, here) in wanted.iter().enumerate() {
                    assert!((3.999..=124.001).contains(&places[a]), "{places:?}");
                    for (b, there) in wanted.iter().enumerate().filter(|(b, _)| *b != a) {
                        assert!((places[a] - places[b]).abs() > if count <= 10 { 12.99 } else { 9.9 }, "{places:?}");
                        assert!((here < there) == (places[a] < places[b]) || (here - there).abs() < 1e-9);
                    }
                }
            }
        }
    }

    #[test]
    fn labels_with_room_stay_where_they_are() {
        assert_eq!(spread(&[100.0, 20.0, 60.0], 13.0, 0.0, 128.0), [100.0, 20.0, 60.0]);
        assert_eq!(spread(&[50.0, 50.0], 12.0, 0.0, 128.0), [44.0, 56.0]);
        assert_eq!(spread(&[0.0, 0.0], 12.0, 4.0, 128.0), [4.0, 16.0]);
        assert_eq!(spread(&[50.0], 12.0, 0.0, 128.0), [50.0]);
    }
}
