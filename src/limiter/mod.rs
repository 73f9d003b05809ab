//! Rate limits: how many requests of one key are let through in a time. Pure: `now_ns` is an argument, nanoseconds of a
//! clock that only goes forward. All workers share the counts of a limit, without a lock.
//!
//! A count is one word, the time at which the key would have used nothing (the theoretical arrival time of GCRA, the
//! generic cell rate algorithm). A limit with keys has a table of such words, whose memory grows with its keys.

mod cell_rate;
mod key_table;
mod leases;
mod pace;
mod rate_memory;
mod rate_table;
#[cfg(test)]
mod tests;
mod word;

pub use key_table::KEYS_MAX;
pub use leases::Leases;
pub use pace::RatePace;
pub use rate_memory::RateMemory;
pub use rate_table::{KeyKind, RateQuery, RateScope, RateTable, SavedRate};
