//! The rules around the test of guards, simulated with a seed: how callers are counted, when the evidence is read, and how
//! it is summed. Each simpler rule is there too, as a negative control: it stops healthy releases, or finds bad ones late.
//!
//! The kernel is that of `stats/`; what is fed into it is simulated. Figures that are called *stated* are those of another
//! implementation, with more runs.

#![expect(clippy::unwrap_used, clippy::cast_precision_loss, reason = "a test may fail; counts are small")]

#[path = "guard_rules/callers.rs"]
mod callers;
#[path = "guard_rules/chance.rs"]
mod chance;
#[path = "guard_rules/detection.rs"]
mod detection;
#[path = "guard_rules/fault.rs"]
mod fault;
#[path = "guard_rules/late.rs"]
mod late;
#[path = "guard_rules/peeking.rs"]
mod peeking;
#[path = "guard_rules/replicas.rs"]
mod replicas;
#[path = "guard_rules/sending.rs"]
mod sending;
#[path = "guard_rules/workers.rs"]
mod workers;
