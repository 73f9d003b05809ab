//! Tests of the app with workers that only follow snapshots: start, reload, watch, resolve, admin and stop.

mod admin;
mod brake;
mod edited_plans;
mod endpoint_files;
mod faulty_disk;
mod guards;
mod harness;
mod latched;
mod names;
mod notifications;
mod recorded;
mod recorder;
mod rehearsals;
mod rejected;
mod reload;
mod resumed;
mod rollout_stops;
mod rollouts;
mod stop;
mod traffic;
mod watch;
