//! Compares two responses to the same request. Pure: bytes are arguments, and every size is bounded.
//!
//! Cheap levels first: outcome of the transport, status, headers and trailers, digest of the body. Only a body with
//! another digest is decoded and compared, as JSON, as lines, or not at all.

mod coding;
mod criteria;
mod field;
mod headers;
mod json;
mod levels;
mod lines;
mod matching;
mod number;
mod path;
mod pattern;
mod response_view;
mod snippet;
#[cfg(test)]
mod tests;
mod walk;
mod weigh;

pub use criteria::{Criteria, Tolerance};
pub use field::{DifferenceKind, ResponseField};
pub use levels::{DECODED_MAX, FIELDS_MAX, RATIO_MAX};
pub use pattern::{Pattern, PatternError};
pub use response_view::{
    BODY_MAX, BodyView, Comparison, Difference, Ending, ExchangeOutcome, Failure, ResponseView, UnreadBody,
};
pub use snippet::{escape_controls, is_control};
