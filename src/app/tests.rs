//! The app with workers that do nothing but follow: start, reload, watch, resolve, admin and stop.

mod admin;
mod harness;
mod names;
mod recorder;
mod rejected;
mod reload;
mod stop;
mod traffic;
mod watch;
