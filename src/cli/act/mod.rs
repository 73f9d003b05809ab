//! `kill`, `revive`, `upstream` and `rollout`: what an act would do, the questions before it, the call, and its outcome in words.

mod before;
mod effect;
mod every;
mod kill;
mod limit;
mod list;
mod names;
mod notify;
mod outcome;
mod question;
mod rehearse_live;
mod revive;
mod rollout;
mod rollout_act;
mod rollout_before;
mod rollout_names;
mod rollout_order;
mod rollout_text;
mod rollout_wait;
mod send;
mod staged_text;
mod standing;
mod upstream;

pub use kill::kill;
pub use limit::limit;
pub use notify::notify;
pub use outcome::{refused, said};
pub use rehearse_live::rehearse_live;
pub use revive::revive;
pub use rollout::rollout;
pub use rollout_text::coloured;
pub use send::{ActOrder, encoded};
pub use staged_text::stage_time;
pub use upstream::upstream;
