//! Buckets, sticky keys, the overlay (weights and kills in force), and the decision.

mod bucket;
mod decision;
mod key;
mod needs;
mod overlay;
mod sampling;
mod spread;

pub use bucket::{BUCKETS, Salt};
pub use decision::{Counted, Decision, Reason, Routed, Silent, Step, Trace, decide};
pub use key::Key;
pub use needs::Needs;
pub use overlay::{ArmState, EffectiveConfig, Kill, Overlay, SplitState, Stop};
pub use sampling::{Sampled, Sampling, Unfit, sampled};
pub use spread::{ShadowSpread, Spread};
