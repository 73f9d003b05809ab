//! Tests of the evidence of a route, rule by rule.

mod absolute;
mod continued;
mod groups;
mod promotion;
mod relative;
mod sample_ratio;
mod thresholds;
mod world;
