//! `status`: what runs, for a person at a terminal, as a table that may be shown again and again, or for programs.

mod ask;
mod figures;
mod markdown;
mod page;
mod table;
#[cfg(test)]
mod tests;
mod watch;

pub use ask::status;
