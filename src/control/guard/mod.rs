//! What guards watch: the evidence of each route, kept beside the snapshot, and the ticks at which it is judged. What
//! follows from it is up to release control.

mod followed;
mod group_spec;
mod keeper;
mod kept_group;
mod kept_rollout;
mod kept_route;
mod rollout_evidence;
mod route_view;
mod stable_times;
#[cfg(test)]
mod tests;
mod ticks;

pub(super) use followed::{Followed, FollowedRoutes};
pub(super) use keeper::{Keeper, RouteTick};
pub(super) use kept_route::{KeptRelease, KeptRoute};
pub(super) use rollout_evidence::StageSources;
pub(super) use route_view::RouteView;
pub(super) use ticks::send_guard_ticks;
