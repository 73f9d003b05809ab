//! The fields of a head (RFC 9110 §5): the bytes as they were received, and where each field lies in them.
//!
//! A room without imports: it does no I/O and knows no protocol but the line of HTTP/1.1.

mod list;
mod span;

pub use list::{Fields, text};
pub use span::{FieldLine, FieldSpan};
