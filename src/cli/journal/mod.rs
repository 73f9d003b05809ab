//! `journal` and `events`: records of the journal, from a running proxy or from its files.

mod ask;
mod events;
mod filter;
mod follow;
mod line;
mod offline;
mod pages;
mod printer;
mod replay;
mod sse;
mod verify;

pub use ask::journal;
pub use events::events;
pub use line::sentence;
pub use pages::newest;
