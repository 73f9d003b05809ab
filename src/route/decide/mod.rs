//! Buckets, sticky keys, the overlay (current weights and kills), and the decision.

mod bucket;
mod called_kills;
mod decision;
mod key;
mod kill_union;
mod needs;
mod overlay;
mod sampling;
mod spread;

pub use bucket::{BUCKETS, Salt};
pub use called_kills::{CalledKill, StreamPlace};
pub use decision::{Counted, Decision, NoTrace, Reason, Routed, Step, Trace, decide};
pub use key::Key;
pub use needs::Needs;
pub use overlay::{ArmState, EffectiveConfig, Kill, Overlay, SplitState, Stop, StoppedVariant, VariantWeight};
pub use sampling::{Sampling, SamplingInput, Unfit, decide_sampling};
pub use spread::{ShadowSpread, Spread};
