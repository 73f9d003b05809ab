//! How much of a connection's input is read in one turn. Heads decompress to much more than their bytes (RFC 7541
//! §7.3): their requests are handled before more are read, so that they are not in memory all at once.

use std::cell::Cell;

/// Most bytes of decoded heads in a turn: names, values, and [`FIELD_BYTES`] for each field.
const HEADS_A_TURN_BYTES: usize = 64 * 1024;
/// What a field costs beside its name and its value (RFC 9113 §6.5.2).
const FIELD_BYTES: usize = 32;
/// What a block costs until it is known to be the head of a request. Trailers, and heads that h2 refuses, cost this much.
const BLOCK_BYTES: usize = 8 * 1024;
/// Most bytes that are read in a turn.
const READ_A_TURN_BYTES: usize = 256 * 1024;

/// Lets h2 read one header block at a time, within the limits of a turn.
#[derive(Debug)]
pub(crate) struct HeadGate {
    /// Decoded bytes of heads in this turn.
    decoded: Cell<usize>,
    /// Bytes read in this turn.
    read: Cell<usize>,
    closed: Cell<bool>,
}

impl HeadGate {
    /// An open gate.
    pub(super) fn new() -> Self {
        Self { decoded: Cell::new(0), read: Cell::new(0), closed: Cell::new(false) }
    }

    /// Begins a turn.
    pub(super) fn begin_turn(&self) {
        self.decoded.set(0);
        self.read.set(0);
        self.closed.set(false);
    }

    /// Counts bytes that h2 gets.
    pub(in super::super) fn count_read(&self, bytes: usize) {
        self.read.set(self.read.get() + bytes);
        if self.read.get() >= READ_A_TURN_BYTES {
            self.closed.set(true);
        }
    }

    /// Closes behind a complete header block.
    pub(in super::super) fn close_behind_block(&self) {
        self.decoded.set(self.decoded.get() + BLOCK_BYTES);
        self.closed.set(true);
    }

    /// The last block is the head of a request, with this many fields and bytes of names and values.
    pub(super) fn count_head(&self, fields: usize, bytes: usize) {
        let others = self.decoded.get().saturating_sub(BLOCK_BYTES);
        self.decoded.set(others + bytes + fields * FIELD_BYTES);
    }

    /// Whether h2 may not read now.
    pub(in super::super) fn is_closed(&self) -> bool {
        self.closed.get()
    }

    /// Opens the gate again, unless the turn has read enough. Returns whether it is open.
    pub(super) fn open(&self) -> bool {
        let is_open = self.decoded.get() < HEADS_A_TURN_BYTES && self.read.get() < READ_A_TURN_BYTES;
        self.closed.set(!is_open);
        is_open
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many heads of this size a turn reads.
    fn heads(fields: usize, bytes: usize) -> usize {
        let gate = HeadGate::new();
        gate.begin_turn();
        let mut heads = 0;
        while gate.open() {
            gate.close_behind_block();
            assert!(gate.is_closed());
            gate.count_head(fields, bytes);
            heads += 1;
        }
        heads
    }

    #[test]
    fn a_turn_is_bound_by_decoded_bytes() {
        assert_eq!((heads(8, 256), heads(8, 16 * 1024), heads(400, 400)), (128, 4, 5));
    }

    #[test]
    fn blocks_that_are_no_heads_and_bytes_are_bound_too() {
        let gate = HeadGate::new();
        let blocks = (0..100).take_while(|_| {
            gate.close_behind_block();
            gate.open()
        });
        assert_eq!(blocks.count(), HEADS_A_TURN_BYTES / BLOCK_BYTES - 1);
        gate.begin_turn();
        assert!(!gate.is_closed());
        gate.count_read(READ_A_TURN_BYTES - 1);
        assert!(gate.open());
        gate.count_read(1);
        assert!(gate.is_closed() && !gate.open());
        gate.begin_turn();
        assert!(gate.open());
    }
}
