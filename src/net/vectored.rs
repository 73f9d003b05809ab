//! Vectored writes: small ones are merged into one buffer.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::AsyncWrite as _;

use super::socket::Socket;

/// Up to this total, slices are copied and sent in one piece, which is cheaper than a vectored write.
const MERGED_BYTES_MAX: usize = 4096;

/// Writes slices. Small ones are merged in `scratch`, which must have room for [`MERGED_BYTES_MAX`].
pub(crate) fn write_merged(
    stream: &mut Socket,
    cx: &mut Context<'_>,
    slices: &[io::IoSlice<'_>],
    scratch: &RefCell<Box<[u8]>>,
) -> Poll<io::Result<usize>> {
    let stream = Pin::new(stream);
    if let [only] = slices {
        return stream.poll_write(cx, only);
    }
    let total: usize = slices.iter().map(|slice| slice.len()).sum();
    if total > MERGED_BYTES_MAX {
        return stream.poll_write_vectored(cx, slices);
    }
    let mut scratch = scratch.borrow_mut();
    debug_assert!(total <= scratch.len(), "merged slices fit the worker's buffer");
    let mut at = 0;
    for slice in slices {
        scratch[at..at + slice.len()].copy_from_slice(slice);
        at += slice.len();
    }
    stream.poll_write(cx, &scratch[..total])
}
