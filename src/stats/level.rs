//! The levels of a comparison: a level that differs hides the levels below it.

/// A level of a response, the outermost first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// How the transport ended.
    Outcome,
    /// The HTTP status and the gRPC status.
    Status,
    /// Headers and trailers.
    Head,
    /// The body.
    Body,
}

impl Level {
    /// All levels, in order.
    pub const ALL: [Self; 4] = [Self::Outcome, Self::Status, Self::Head, Self::Body];
}

/// A field that belongs to a level.
pub trait HasLevel {
    /// The level; a difference is visible only in comparisons that reached it.
    fn level(&self) -> Level;
}

/// The differences between two responses.
#[derive(Debug)]
pub struct Observation<'a, K> {
    /// The fields that differ.
    pub differing: &'a [K],
    /// The last level that was compared.
    pub reached: Level,
}

impl<K> Clone for Observation<'_, K> {
    fn clone(&self) -> Self {
        *self
    }
}

// For any `K`, because only the reference is copied; `derive` would require `K: Copy`.
impl<K> Copy for Observation<'_, K> {}

impl<K: HasLevel> Observation<'_, K> {
    /// The fields that differ, on levels that were compared.
    pub(super) fn fields(&self) -> impl Iterator<Item = &K> {
        self.differing.iter().filter(|field| field.level() <= self.reached)
    }
}
