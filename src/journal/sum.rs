//! The sum of a file that is one JSON object: its last member, `sum`, is the SHA-256 of all bytes before that member, in
//! hex. A changed or cut file is recognised, whatever members a later version adds.

use super::line::hash;

/// What is between the summed bytes and the sum.
const SUM: &[u8] = b",\"sum\":\"";
/// What is behind the sum.
const END: &[u8] = b"\"}\n";
/// The length of a sum in hex.
const SUM_LENGTH: usize = 64;

/// How many bytes the sum adds.
pub(super) const SUMMED: usize = SUM.len() + SUM_LENGTH + END.len();

/// Adds the sum to an object without its closing brace.
pub(super) fn with_sum(mut open: Vec<u8>) -> Vec<u8> {
    debug_assert!(open.first() == Some(&b'{'), "it is an object");
    let sum = hash(&open);
    open.extend_from_slice(SUM);
    open.extend_from_slice(sum.as_bytes());
    open.extend_from_slice(END);
    open
}

/// The object without its sum and its closing brace.
///
/// # Errors
/// The sum is missing, or is that of other bytes.
pub(super) fn without_sum(bytes: &[u8]) -> Result<&[u8], String> {
    let changed = || "its content does not match its sum: it was changed or cut".to_owned();
    let text = bytes.strip_suffix(END).ok_or_else(changed)?;
    let (text, sum) = text.split_at_checked(text.len().wrapping_sub(SUM_LENGTH)).ok_or_else(changed)?;
    let summed = text.strip_suffix(SUM).ok_or_else(changed)?;
    if hash(summed).as_bytes() == sum { Ok(summed) } else { Err(changed()) }
}
