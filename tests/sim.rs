//! Upstreams that fail, simulated with a seed in virtual time, and hammered by real threads.
//!
//! Endpoints die, freeze, flap, slow down, answer 503 in bursts and break bodies, while requests of several workers follow
//! the steps of the proxy and the rules of `failover/`. At each step the laws are checked: a failure shows the seed and
//! the last events. The same seed is the same run.
//!
//! And fleets, of which the balances choose. And releases: plans, faults, people, edits and crashes around the state machine of rollouts.

#![expect(clippy::expect_used, clippy::cast_precision_loss, reason = "a test may fail; counts are small")]

#[path = "sim/arm.rs"]
mod arm;
#[path = "sim/fleet.rs"]
mod fleet;
#[path = "sim/fleet_scenes.rs"]
mod fleet_scenes;
#[path = "sim/outcome.rs"]
mod outcome;
#[path = "sim/plan.rs"]
mod plan;
#[path = "sim/release.rs"]
mod release;
#[path = "sim/release_disk.rs"]
mod release_disk;
#[path = "sim/release_plan.rs"]
mod release_plan;
#[path = "sim/release_scenes.rs"]
mod release_scenes;
#[path = "sim/release_traffic.rs"]
mod release_traffic;
#[path = "sim/request.rs"]
mod request;
#[path = "guards/route.rs"]
#[expect(dead_code, reason = "the tests of guards use the rest")]
mod route;
#[path = "sim/scenes.rs"]
mod scenes;
#[path = "sim/server.rs"]
mod server;
#[path = "sim/threads.rs"]
mod threads;
#[path = "sim/watch.rs"]
mod watch;
#[path = "sim/world.rs"]
mod world;
