//! Properties of any bytes of an HTTP/1.1 client: the result of the scanner does not depend on how they are split.

use pointsman::proxy::scan::{BodyProgress, BodyScanner, Bounds, Framing, ScannedHead, head};

const BOUNDS: Bounds =
    Bounds { header_bytes: 4096, headers: 32, uri_bytes: 512, chunk_extension_bytes: 256, trailers: 8 };

/// Any bytes: a head, and the bytes after it.
pub fn any(bytes: &[u8]) {
    let whole = head(bytes, &BOUNDS);
    if let ScannedHead::Complete(length, framing) = whole {
        assert!(length <= bytes.len(), "a head ends within the input");
        assert_eq!(head(&bytes[..length], &BOUNDS), whole, "the bytes after a head do not change it");
        for end in 0..length {
            assert_eq!(head(&bytes[..end], &BOUNDS), ScannedHead::Partial, "a part of a head is partial");
        }
        assert_eq!(follow(framing, &bytes[length..], usize::MAX), follow(framing, &bytes[length..], 1));
    }
}

/// How many bytes belong to the body and whether it ended, read in pieces; `None` if it is rejected.
fn follow(framing: Framing, bytes: &[u8], piece: usize) -> Option<(usize, bool)> {
    let mut body = BodyScanner::new(framing);
    let mut at = 0;
    if matches!(framing, Framing::Length(0) | Framing::Switch) {
        return Some((0, true));
    }
    while at < bytes.len() {
        let end = at.saturating_add(piece).min(bytes.len());
        let (taken, progress) = body.take(&bytes[at..end], &BOUNDS).ok()?;
        at += taken;
        assert!(at <= end, "the scanner takes no more than the piece");
        if progress == BodyProgress::Ended {
            return Some((at, true));
        }
        assert_eq!(at, end, "the scanner takes the whole piece until the body ends");
    }
    Some((at, false))
}
