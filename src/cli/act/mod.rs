//! `kill` and `revive`: what an act would do, the questions before it, the call, and its outcome in words.

mod effect;
mod kill;
mod list;
mod outcome;
mod question;
mod revive;
mod send;

pub use kill::kill;
pub use outcome::said;
pub use revive::revive;
pub use send::ActOrder;
