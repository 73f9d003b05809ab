//! A series: a point for each slot, the older ones packed. Time is the number of a slot.

use std::collections::VecDeque;
use std::sync::Arc;

use super::packed::PackedColumns;
use super::point::{SeriesPoint, SeriesShape};

/// So many points are packed together.
const CHUNK_POINTS: usize = 60;
/// The list of chunks grows by so many.
const CHUNKS_MORE: usize = 8;
/// What an allocation takes beside its bytes, on average.
const ALLOCATION: usize = 16;

/// The points of a series. There is one for each slot from its begin on.
#[derive(Clone, Debug)]
pub(super) struct HistorySeries {
    shape: Arc<SeriesShape>,
    /// The thresholds of the guards, as they are now.
    thresholds: Vec<f64>,
    /// Oldest first; each begins where the one before ends.
    chunks: VecDeque<Chunk>,
    /// The rows after the last chunk.
    open: Vec<u32>,
    /// The first slot that it ever had.
    born: u64,
    /// The slot after the last point.
    end: u64,
    /// The slot of the last point with a request; before the first request that of the first point.
    requested: u64,
    /// The bytes of the packed columns.
    packed: usize,
}

/// Packed points.
#[derive(Clone, Debug)]
struct Chunk {
    begin: u64,
    shape: Arc<SeriesShape>,
    columns: PackedColumns,
}

/// Points that follow each other in slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SlotRange {
    /// The first slot.
    pub first: u64,
    /// The slot after the last one.
    pub end: u64,
}

impl SlotRange {
    /// How many slots there are.
    pub const fn count(self) -> u64 {
        self.end.saturating_sub(self.first)
    }
}

impl HistorySeries {
    /// An empty series of this shape.
    pub fn new(shape: SeriesShape, begin: u64) -> Self {
        Self {
            shape: Arc::new(shape),
            thresholds: Vec::new(),
            chunks: VecDeque::new(),
            open: Vec::new(),
            born: begin,
            end: begin,
            requested: begin,
            packed: 0,
        }
    }

    /// The columns of the newest points.
    pub fn shape(&self) -> &SeriesShape {
        &self.shape
    }

    /// The thresholds of the guards.
    pub fn thresholds(&self) -> &[f64] {
        &self.thresholds
    }

    /// The first slot.
    pub fn begin(&self) -> u64 {
        self.chunks.front().map_or_else(|| self.open_begin(), |chunk| chunk.begin)
    }

    /// The first slot that it ever had; it may have lost its point.
    pub const fn born(&self) -> u64 {
        self.born
    }

    /// The slot after the last point.
    pub const fn end(&self) -> u64 {
        self.end
    }

    /// The slot of the last point with a request.
    pub const fn requested(&self) -> u64 {
        self.requested
    }

    /// The slot after the oldest chunk.
    pub fn first_chunk_end(&self) -> Option<u64> {
        self.chunks.front().map(Chunk::end)
    }

    /// The bytes of memory that it takes, without its name.
    pub fn bytes(&self) -> usize {
        let list = self.chunks.capacity() * size_of::<Chunk>() + self.chunks.len() * ALLOCATION;
        let rows = self.open.capacity() * size_of::<u32>() + 4 * ALLOCATION;
        size_of::<Self>()
            + self.shape.bytes()
            + self.thresholds.capacity() * size_of::<f64>()
            + self.packed
            + list
            + rows
    }

    /// Takes what was counted in these slots, for which a shape of its own may be given. Slots before them, since the last
    /// point, had no request; points of slots that are there already are left out.
    pub fn push(&mut self, slots: SlotRange, point: &SeriesPoint) {
        debug_assert_eq!(point.row().count(), self.shape.columns(), "a code for each column");
        if self.chunks.is_empty() && self.open.is_empty() {
            // Nothing is known about the time before.
            self.end = self.end.max(slots.first);
            self.requested = self.end;
        }
        self.idle_until(slots.first);
        let first = slots.first.max(self.end);
        for slot in first..slots.end {
            self.open.extend(point.part(slot - slots.first, slots.count()).row());
            self.end = slot + 1;
            self.pack_full();
        }
        if point.has_requests() {
            self.requested = self.end.saturating_sub(1);
        }
    }

    /// The names of the arms and guards that points have from now on, with the thresholds of the guards.
    pub fn follow(&mut self, shape: SeriesShape, thresholds: Vec<f64>) {
        self.thresholds = thresholds;
        if *self.shape != shape {
            self.pack();
            self.shape = Arc::new(shape);
        }
    }

    /// No request came until this slot: points in which nothing was counted.
    pub fn idle_until(&mut self, slot: u64) {
        let Some(row) = self.last_row().filter(|_| slot > self.end) else { return };
        let gap = slot - self.end;
        let row = self.shape.idle_after(&row);
        let is_short = usize::try_from(gap).is_ok_and(|gap| gap <= CHUNK_POINTS);
        if is_short && row.len() == self.shape.columns() {
            for _ in 0..gap {
                self.open.extend(&row);
                self.end += 1;
                self.pack_full();
            }
            return;
        }
        self.pack();
        self.open = Vec::new();
        self.add_chunk(PackedColumns::repeat(&row, gap));
        self.end = slot;
    }

    /// Drops the chunks that end before this slot or with it.
    pub fn drop_before(&mut self, slot: u64) {
        while let Some(oldest) = self.chunks.front().filter(|chunk| chunk.end() <= slot) {
            self.packed -= oldest.columns.bytes();
            self.chunks.pop_front();
        }
    }

    /// Calls with each part of its points: packed columns, their shape and their first slot. After the last point and before
    /// slot `end` there was no request.
    pub fn each_part(&self, end: u64, mut take: impl FnMut(&PackedColumns, &SeriesShape, u64)) {
        for chunk in &self.chunks {
            take(&chunk.columns, &chunk.shape, chunk.begin);
        }
        if !self.open.is_empty() {
            take(&PackedColumns::pack(&self.open, self.shape.columns()), &self.shape, self.open_begin());
        }
        if let Some(row) = self.last_row().filter(|_| end > self.end) {
            take(&PackedColumns::repeat(&self.shape.idle_after(&row), end - self.end), &self.shape, self.end);
        }
    }

    /// The row of the last point, in the columns of now.
    fn last_row(&self) -> Option<Vec<u32>> {
        let columns = self.shape.columns();
        if let Some(at) = self.open.len().checked_sub(columns) {
            return self.open.get(at..).map(<[u32]>::to_vec);
        }
        let chunk = self.chunks.back()?;
        let packed = chunk.columns.columns();
        let last = usize::try_from(chunk.columns.points()).unwrap_or(usize::MAX).saturating_sub(1);
        let code = |place: Option<usize>| place.and_then(|at| packed.get(at)).map_or(0, |column| column.code(last));
        Some(self.shape.places_in(&chunk.shape).into_iter().map(code).collect())
    }

    fn open_begin(&self) -> u64 {
        self.end - (self.open.len() / self.shape.columns()) as u64
    }

    fn pack_full(&mut self) {
        if self.open.len() >= CHUNK_POINTS * self.shape.columns() {
            self.pack();
        }
    }

    /// Packs the open rows.
    fn pack(&mut self) {
        if self.open.is_empty() {
            return;
        }
        let columns = PackedColumns::pack(&self.open, self.shape.columns());
        let begin = self.open_begin();
        self.open.clear();
        self.add_chunk_at(columns, begin);
    }

    fn add_chunk(&mut self, columns: PackedColumns) {
        self.add_chunk_at(columns, self.end);
    }

    fn add_chunk_at(&mut self, columns: PackedColumns, begin: u64) {
        debug_assert!(
            self.chunks.back().is_none_or(|last| last.end() == begin),
            "a chunk begins where the one before ends"
        );
        if self.chunks.len() == self.chunks.capacity() {
            self.chunks.reserve_exact(CHUNKS_MORE);
        }
        self.packed += columns.bytes();
        self.chunks.push_back(Chunk { begin, shape: Arc::clone(&self.shape), columns });
    }
}

impl Chunk {
    const fn end(&self) -> u64 {
        self.begin + self.columns.points()
    }
}
