//! Columns of codes, packed: each as its smallest code and the differences to it, in 0, 1, 2 or 4 bytes a point. A column
//! that does not change has five bytes, however many points there are.

use std::ops::Range;

/// The head of a column: its smallest code and the width of its differences, in bytes.
const HEAD: usize = 5;

/// Columns of as many points: first the heads of all, so that reading them waits for memory once, then the differences.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct PackedColumns {
    points: u32,
    columns: u32,
    bytes: Box<[u8]>,
}

/// A packed column.
#[derive(Clone, Copy, Debug)]
pub(super) struct PackedColumn<'a> {
    smallest: u32,
    differences: Differences<'a>,
}

#[derive(Clone, Copy, Debug)]
enum Differences<'a> {
    None,
    OneByte(&'a [u8]),
    TwoBytes(&'a [[u8; 2]]),
    FourBytes(&'a [[u8; 4]]),
}

impl PackedColumns {
    /// Packs rows of so many columns, one after the other.
    pub fn pack(rows: &[u32], columns: usize) -> Self {
        debug_assert!(columns > 0 && rows.len().is_multiple_of(columns), "whole rows");
        let (mut heads, mut differences) = (Vec::with_capacity(columns * HEAD), Vec::new());
        for column in 0..columns {
            let codes = || rows.iter().skip(column).step_by(columns);
            let smallest = codes().copied().min().unwrap_or_default();
            let largest = codes().copied().max().unwrap_or_default();
            let width = width_of(largest - smallest);
            heads.extend(smallest.to_le_bytes());
            heads.push(width);
            for code in codes() {
                differences.extend(&(code - smallest).to_le_bytes()[..usize::from(width)]);
            }
        }
        heads.append(&mut differences);
        let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        Self { points: number(rows.len() / columns.max(1)), columns: number(columns), bytes: heads.into() }
    }

    /// So many points that are all this row.
    pub fn repeat(row: &[u32], points: u64) -> Self {
        Self { points: u32::try_from(points).unwrap_or(u32::MAX), ..Self::pack(row, row.len()) }
    }

    /// How many points there are.
    pub const fn points(&self) -> u64 {
        self.points as u64
    }

    /// How many bytes the columns take.
    pub const fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// The columns, in their order.
    pub fn columns(&self) -> Vec<PackedColumn<'_>> {
        let (heads, mut rest) = self.bytes.split_at(self.columns as usize * HEAD);
        let column = |head: &[u8; HEAD]| {
            let [a, b, c, d, width] = *head;
            let length = usize::from(width) * if width == 0 { 0 } else { self.points as usize };
            debug_assert!(length <= rest.len(), "the differences of each point");
            let (differences, after) = rest.split_at(length.min(rest.len()));
            rest = after;
            PackedColumn {
                smallest: u32::from_le_bytes([a, b, c, d]),
                differences: match width {
                    0 => Differences::None,
                    1 => Differences::OneByte(differences),
                    2 => Differences::TwoBytes(differences.as_chunks().0),
                    _ => Differences::FourBytes(differences.as_chunks().0),
                },
            }
        };
        heads.as_chunks().0.iter().map(column).collect()
    }
}

impl PackedColumn<'_> {
    /// The codes of these points, one after the other.
    pub fn each(&self, points: Range<usize>, mut take: impl FnMut(u32)) {
        let from = self.smallest;
        match self.differences {
            Differences::None => points.for_each(|_| take(from)),
            Differences::OneByte(all) => within(all, points).iter().for_each(|more| take(from + u32::from(*more))),
            Differences::TwoBytes(all) => within(all, points).iter().for_each(|more| take(from + two(*more))),
            Differences::FourBytes(all) => within(all, points).iter().for_each(|more| take(from + four(*more))),
        }
    }

    /// The sum of the codes of these points.
    pub fn sum(&self, points: Range<usize>) -> u64 {
        let from = u64::from(self.smallest) * points.len() as u64;
        from + match self.differences {
            Differences::None => 0,
            Differences::OneByte(all) => within(all, points).iter().map(|more| u64::from(*more)).sum(),
            Differences::TwoBytes(all) => within(all, points).iter().map(|more| u64::from(two(*more))).sum(),
            Differences::FourBytes(all) => within(all, points).iter().map(|more| u64::from(four(*more))).sum(),
        }
    }

    /// How many of these points have a code above 0.
    pub fn above_zero(&self, points: Range<usize>) -> usize {
        if self.smallest > 0 {
            return points.len();
        }
        match self.differences {
            Differences::None => 0,
            Differences::OneByte(all) => within(all, points).iter().filter(|more| **more > 0).count(),
            Differences::TwoBytes(all) => within(all, points).iter().filter(|more| two(**more) > 0).count(),
            Differences::FourBytes(all) => within(all, points).iter().filter(|more| four(**more) > 0).count(),
        }
    }

    /// The largest code of these points; 0 without any.
    pub fn largest(&self, points: Range<usize>) -> u32 {
        if points.is_empty() {
            return 0;
        }
        let more = match self.differences {
            Differences::None => 0,
            Differences::OneByte(all) => u32::from(within(all, points).iter().copied().max().unwrap_or_default()),
            Differences::TwoBytes(all) => within(all, points).iter().copied().map(two).max().unwrap_or_default(),
            Differences::FourBytes(all) => within(all, points).iter().copied().map(four).max().unwrap_or_default(),
        };
        self.smallest + more
    }

    /// The last code of these points that is above 0; 0 without any.
    pub fn last_above_zero(&self, points: Range<usize>) -> u32 {
        points.rev().map(|point| self.code(point)).find(|code| *code > 0).unwrap_or_default()
    }

    /// The code of a point.
    pub fn code(&self, point: usize) -> u32 {
        let more = match self.differences {
            Differences::None => None,
            Differences::OneByte(all) => all.get(point).map(|more| u32::from(*more)),
            Differences::TwoBytes(all) => all.get(point).copied().map(two),
            Differences::FourBytes(all) => all.get(point).copied().map(four),
        };
        self.smallest + more.unwrap_or_default()
    }
}

const fn two(bytes: [u8; 2]) -> u32 {
    u16::from_le_bytes(bytes) as u32
}

const fn four(bytes: [u8; 4]) -> u32 {
    u32::from_le_bytes(bytes)
}

/// The bytes that a difference takes.
const fn width_of(difference: u32) -> u8 {
    match difference {
        0 => 0,
        1..=0xFF => 1,
        0x100..=0xFFFF => 2,
        _ => 4,
    }
}

/// These points of all.
fn within<T>(all: &[T], points: Range<usize>) -> &[T] {
    debug_assert!(points.end <= all.len(), "points of the column");
    all.get(points).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Codes of all widths.
    fn code() -> impl Strategy<Value = u32> {
        prop_oneof![Just(7_u32), 0..3_u32, 0..200_u32, 0..60_000_u32, any::<u32>()]
    }

    fn unpacked(packed: &PackedColumns) -> Vec<Vec<u32>> {
        let codes = |column: PackedColumn<'_>| {
            let mut codes = Vec::new();
            column.each(0..usize::try_from(packed.points()).unwrap(), |code| codes.push(code));
            codes
        };
        packed.columns().into_iter().map(codes).collect()
    }

    #[test]
    fn a_column_takes_as_few_bytes_as_its_codes_differ() {
        for (codes, width) in [([5, 5], 0), ([5, 260], 1), ([5, 261], 2), ([0, u32::MAX], 4)] {
            assert_eq!(PackedColumns::pack(&codes, 1).bytes(), HEAD + 2 * width, "{codes:?}");
        }
        let repeated = PackedColumns::repeat(&[3, 9], 8_640);
        assert_eq!((repeated.bytes(), repeated.points()), (2 * HEAD, 8_640));
        assert_eq!(repeated.columns().iter().map(|column| column.sum(0..8_640)).collect::<Vec<_>>(), [25_920, 77_760]);
    }

    proptest! {
        #[test]
        fn what_is_packed_comes_out(columns in 1..6_usize, codes in prop::collection::vec(code(), 0..200)) {
            let rows = &codes[..codes.len() / columns * columns];
            let packed = PackedColumns::pack(rows, columns);
            let by_column: Vec<Vec<u32>> =
                (0..columns).map(|at| rows.iter().skip(at).step_by(columns).copied().collect()).collect();
            prop_assert_eq!(packed.points(), (rows.len() / columns) as u64);
            prop_assert_eq!(unpacked(&packed), by_column.clone());
            let all = packed.columns();
            for (column, codes) in all.iter().zip(&by_column) {
                prop_assert!(codes.iter().enumerate().all(|(at, code)| column.code(at) == *code));
                let (range, codes) = (codes.len() / 3..codes.len(), &codes[codes.len() / 3..]);
                prop_assert_eq!(column.sum(range.clone()), codes.iter().map(|code| u64::from(*code)).sum::<u64>());
                prop_assert_eq!(column.largest(range.clone()), codes.iter().copied().max().unwrap_or(0));
                prop_assert_eq!(column.above_zero(range.clone()), codes.iter().filter(|code| **code > 0).count());
                let last = codes.iter().rev().find(|code| **code > 0).copied().unwrap_or(0);
                prop_assert_eq!(column.last_above_zero(range), last);
            }
        }
    }
}
