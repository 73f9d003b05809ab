//! The state machine: each state, each transition, and the laws over random plans, facts and acts.

mod course;
mod gates;
mod holds;
mod laws;
mod people;
mod plans;
mod ramps;
mod texts;
mod trips;
