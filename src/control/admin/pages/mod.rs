//! The pages of the dashboard: each gathers what the calls of `/v1` answer, and `control/dashboard/` makes HTML of it.

mod assets;
mod cache;
mod context;
mod handlers;
mod journal_pages;
mod query;

pub(super) use assets::{script, style};
pub(super) use cache::PageCache;
pub(super) use handlers::{config, experiments, index, kills, rollout, route, routes, shadows, sign_in, upstreams};
pub(super) use journal_pages::{journal, journal_csv};
