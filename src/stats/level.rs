//! How far two answers were compared: a level that differs hides the ones below it.

/// A level of an answer, the outermost first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// How the transport ended.
    Outcome,
    /// The status, and that of gRPC.
    Status,
    /// Headers and trailers.
    Head,
    /// The body.
    Body,
}

impl Level {
    /// All of them, by number.
    pub const ALL: [Self; 4] = [Self::Outcome, Self::Status, Self::Head, Self::Body];
}

/// What lies at a level.
pub trait HasLevel {
    /// Which one: it can only be seen to differ where a comparison has reached that.
    fn level(&self) -> Level;
}

/// What comparing two answers has shown.
#[derive(Debug)]
pub struct Observation<'a, K> {
    /// The fields that differ.
    pub differing: &'a [K],
    /// How far the comparison went; of what lies below, nothing is known.
    pub reached: Level,
}

impl<K> Clone for Observation<'_, K> {
    fn clone(&self) -> Self {
        *self
    }
}

// Whatever a field is: only its place is copied.
impl<K> Copy for Observation<'_, K> {}

impl<K: HasLevel> Observation<'_, K> {
    /// The fields that differ.
    pub(super) fn fields(&self) -> impl Iterator<Item = &K> {
        self.differing.iter().filter(|field| field.level() <= self.reached)
    }
}
